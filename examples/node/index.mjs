// Says hello, and counts how often this environment was used: globals live as long as the environment is warm.
let invocations = 0;

export const handler = async (event, context) => {
  invocations += 1;
  console.log("greeting", event.name ?? "world", "with", context.getRemainingTimeInMillis(), "ms left");
  return { message: `Hello, ${event.name ?? "world"}!`, requestId: context.awsRequestId, invocations };
};
