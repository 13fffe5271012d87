"""Threads, processes, and a program of the system's."""

import concurrent.futures
import json
import multiprocessing
import subprocess
import threading


def square(number):
    return number * number


def double(connection, number):
    connection.send(number * 2)
    connection.close()


def in_process(kind):
    context = multiprocessing.get_context(kind)
    ours, theirs = context.Pipe()
    process = context.Process(target=double, args=(theirs, 21))
    process.start()
    answer = ours.recv()
    process.join()
    return answer


def lambda_handler(event, context):
    talker = threading.Thread(target=print, args=("said by a thread",))
    talker.start()
    talker.join()
    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        squares = sum(pool.map(square, range(100)))
    said = subprocess.run(["echo", "hi"], capture_output=True, text=True).stdout
    return {
        "statusCode": 200,
        "body": json.dumps({"squares": squares, "fork": in_process("fork"), "spawn": in_process("spawn"), "said": said}),
    }
