"""An interpreter in Python: a stack machine runs Euclid's algorithm and a sieve."""

PUSH, LOAD, STORE, ADD, SUB, MOD, LESS, JUMP, UNLESS, GET, SET, DUP, HALT = range(13)


def run(code, variables, memory):
    stack, at, steps = [], 0, 0
    push, pop = stack.append, stack.pop
    while True:
        op, argument = code[at]
        at += 1
        steps += 1
        if op == PUSH:
            push(argument)
        elif op == LOAD:
            push(variables[argument])
        elif op == STORE:
            variables[argument] = pop()
        elif op == ADD:
            b = pop()
            push(pop() + b)
        elif op == SUB:
            b = pop()
            push(pop() - b)
        elif op == MOD:
            b = pop()
            push(pop() % b)
        elif op == LESS:
            b = pop()
            push(pop() < b)
        elif op == JUMP:
            at = argument
        elif op == UNLESS:
            if not pop():
                at = argument
        elif op == GET:
            push(memory[pop()])
        elif op == SET:
            value = pop()
            memory[pop()] = value
        elif op == DUP:
            push(stack[-1])
        else:
            return steps


EUCLID = [(LOAD, "b"), (UNLESS, 8), (LOAD, "a"), (LOAD, "b"), (DUP, 0), (STORE, "a"), (MOD, 0),
          (JUMP, 9), (HALT, 0), (STORE, "b"), (JUMP, 0)]
SIEVE = [(LOAD, "i"), (LOAD, "n"), (LESS, 0), (UNLESS, 27), (LOAD, "i"), (GET, 0), (UNLESS, 22),
         (LOAD, "i"), (LOAD, "i"), (ADD, 0), (STORE, "j"), (LOAD, "j"), (LOAD, "n"), (LESS, 0),
         (UNLESS, 22), (LOAD, "j"), (PUSH, 0), (SET, 0), (LOAD, "j"), (LOAD, "i"), (ADD, 0),
         (JUMP, 10), (LOAD, "i"), (PUSH, 1), (ADD, 0), (STORE, "i"), (JUMP, 0), (HALT, 0)]


def work():
    results = []
    for i in range(1, 250):
        variables = {"a": i * 7919, "b": i * i + 1}
        results.append((run(EUCLID, variables, []), variables["a"]))
    memory = [1] * 3_000
    steps = run(SIEVE, {"i": 2, "n": 3_000}, memory)
    return results, steps, sum(memory)
