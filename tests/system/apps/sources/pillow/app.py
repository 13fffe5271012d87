"""The application `pillow` of test_apps."""

import base64
import io

from PIL import Image, ImageDraw, ImageFont


def lambda_handler(event, context):
    if event.get("body"):
        raw = base64.b64decode(event["body"]) if event["isBase64Encoded"] else event["body"].encode()
        im = Image.open(io.BytesIO(raw))
        im.thumbnail((64, 64))
    else:
        im = Image.new("RGB", (200, 80), "navy")
        ImageDraw.Draw(im).text((10, 10), "hanabi", fill="white", font=ImageFont.load_default(24))
    out = io.BytesIO()
    im.save(out, "PNG")
    return {
        "statusCode": 200,
        "headers": {"Content-Type": "image/png"},
        "isBase64Encoded": True,
        "body": base64.b64encode(out.getvalue()).decode(),
    }
