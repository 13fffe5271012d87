// A function on AWS's Java client, as its documentation writes one.
import com.amazonaws.services.lambda.runtime.Context;
import com.amazonaws.services.lambda.runtime.RequestHandler;
import java.util.HashMap;
import java.util.Map;

public class App implements RequestHandler<Map<String, Object>, Map<String, Object>> {
    @Override
    public Map<String, Object> handleRequest(Map<String, Object> event, Context context) {
        String what = String.valueOf(event.get("do"));
        int n = ((Number) event.getOrDefault("n", 0)).intValue();
        if (what.equals("fail")) throw new IllegalStateException("no good");
        if (what.equals("exit")) System.exit(4);
        if (what.equals("big")) return Map.of("big", "x".repeat(7_000_000));
        context.getLogger().log("handling " + n + "\n");
        Map<String, Object> answer = new HashMap<>();
        answer.put("twice", 2 * n);
        answer.put("requestId", context.getAwsRequestId());
        answer.put("arn", context.getInvokedFunctionArn());
        answer.put("function", context.getFunctionName());
        answer.put("custom", context.getClientContext() == null ? null : context.getClientContext().getCustom());
        answer.put("leftMs", context.getRemainingTimeInMillis());
        answer.put("trace", System.getProperty("com.amazonaws.xray.traceHeader"));
        return answer;
    }
}
