package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"runtime"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-lambda-go/lambdacontext"
)

func handler(ctx context.Context, req events.LambdaFunctionURLRequest) (events.LambdaFunctionURLResponse, error) {
	lc, _ := lambdacontext.FromContext(ctx)
	if req.RawPath == "/err" {
		return events.LambdaFunctionURLResponse{}, fmt.Errorf("go broken")
	}
	if req.RawPath == "/panic" {
		panic("go panicked")
	}
	if req.RawPath == "/exit" {
		os.Exit(3)
	}
	fmt.Println("go got", req.RawPath)
	b, _ := json.Marshal(map[string]any{"path": req.RawPath, "q": req.QueryStringParameters, "id": lc.AwsRequestID, "procs": runtime.GOMAXPROCS(0), "len": len(req.Body), "b64": req.IsBase64Encoded})
	return events.LambdaFunctionURLResponse{StatusCode: 200, Body: string(b), Headers: map[string]string{"Content-Type": "application/json"}, Cookies: []string{"a=1", "b=2"}}, nil
}

func main() { lambda.Start(handler) }
