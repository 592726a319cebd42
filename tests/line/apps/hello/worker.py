import signal

print("the worker waits for work")
signal.sigwait([signal.SIGTERM])
print("the worker stops")
