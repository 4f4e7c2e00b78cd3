# SPDX-License-Identifier: Apache-2.0
"""A small application without a line of tracing in it, for uWSGI."""
import time

from flask import Flask, jsonify

application = Flask(__name__)


@application.get("/")
def index():
    return "hello\n"


@application.get("/users/<int:user_id>")
def user(user_id):
    return jsonify(id=user_id, name=f"user {user_id}")


@application.get("/slow")
def slow():
    time.sleep(0.25)
    return "that took a while\n"


@application.get("/error")
def error():
    raise RuntimeError("the example's own failure")
