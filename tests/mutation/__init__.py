"""Mutation testing of the deletion gate and the state machine: is every part of them held by a test?"""
