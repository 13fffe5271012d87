"""The application `pandas` of test_apps."""

import json

import numpy as np
import pandas as pd


def lambda_handler(event, context):
    frame = pd.DataFrame({"a": np.arange(1000), "b": np.random.default_rng(1).normal(size=1000)})
    groups = frame.groupby(frame.a % 10).b.mean()
    print(frame.describe())
    if event["rawPath"] == "/csv":
        return {"statusCode": 200, "headers": {"content-type": "text/csv"}, "body": frame.head(2).a.to_csv(index=False)}
    product = np.ones((200, 200)) @ np.ones((200, 200))
    return {"statusCode": 200, "body": json.dumps({"sum": int(frame.a.sum()), "groups": len(groups), "product": product.sum()})}
