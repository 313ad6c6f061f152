"""The first minute with distkv: a store in this process, its data in ./quickstart-data."""

import distkv

with distkv.open("quickstart-data") as db:
    revision = db.put("greeting", "hello")
    print(db.get("greeting"))  # b'hello'
    print(db.get_entry("greeting"))  # Entry(value=b'hello', revision=..)
    print(db.delete("greeting"), db.get("greeting"))  # True None
