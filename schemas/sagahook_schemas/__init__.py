"""The contracts of sagahook: pure models of every record that travels over Kafka.

Nothing here does I/O, reads a clock or draws a random number. JSON Schemas, examples and the reference
documentation are generated from these models (`sagahook schemas write`).
"""
