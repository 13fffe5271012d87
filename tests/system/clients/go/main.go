// A function on AWS's Go library, as its documentation writes one.
package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-lambda-go/lambdacontext"
)

type event struct {
	Do string `json:"do"`
	N  int    `json:"n"`
}

type answer struct {
	Twice     int               `json:"twice"`
	RequestID string            `json:"requestId"`
	ARN       string            `json:"arn"`
	Function  string            `json:"function"`
	Custom    map[string]string `json:"custom"`
	LeftMs    int64             `json:"leftMs"`
}

type noGood struct{ reason string }

func (e noGood) Error() string { return e.reason }

func handle(ctx context.Context, e event) (answer, error) {
	switch e.Do {
	case "fail":
		return answer{}, noGood{"no good"}
	case "plain":
		return answer{}, errors.New("plainly no good")
	case "panic":
		panic("panicked")
	}
	fmt.Println("handling", e.N)
	called, _ := lambdacontext.FromContext(ctx)
	deadline, _ := ctx.Deadline()
	return answer{
		Twice:     2 * e.N,
		RequestID: called.AwsRequestID,
		ARN:       called.InvokedFunctionArn,
		Function:  lambdacontext.FunctionName,
		Custom:    called.ClientContext.Custom,
		LeftMs:    time.Until(deadline).Milliseconds(),
	}, nil
}

func main() { lambda.Start(handle) }
