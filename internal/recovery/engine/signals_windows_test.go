package engine

import "os"

// stopSignals are the signals that stop and wake a process; there are none.
func stopSignals() (stop, wake os.Signal) { return nil, nil }
