"""A rollout to hundreds of simulated carts, on one broker, one web server and one conductor.

Each cart is the shipped update client, slots, probation and status, in the processes of a crowd; fake are its engine,
its images and all clocks. Broker, web server, repository, keys and conductor are real.
"""
