# SPDX-License-Identifier: Apache-2.0
"""A small application without a line of tracing in it."""
import time

from flask import Flask, jsonify

app = Flask(__name__)


@app.get("/")
def index():
    return "hello\n"


@app.get("/users/<int:user_id>")
def user(user_id):
    return jsonify(id=user_id, name=f"user {user_id}")


@app.get("/slow")
def slow():
    time.sleep(0.25)
    return "that took a while\n"


@app.get("/error")
def error():
    raise RuntimeError("the example's own failure")
