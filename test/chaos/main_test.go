package main

import (
	"bytes"
	"flag"
	"os"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		main() // a controller of the test
		return
	}
	os.Exit(m.Run())
}

var (
	seed      = flag.Uint64("chaos.seed", uint64(time.Now().UnixNano()), "what goes wrong follows from it")
	testSteps = flag.Int("chaos.operations", 0, "how many operations; 20 when 0, 120 with all tests")
)

// TestChaos is a small run with a seed of its own each time.
func TestChaos(t *testing.T) {
	n := *testSteps
	if n == 0 {
		n = 20
		if os.Getenv("UNDERSTUDY_TEST_ALL") == "1" {
			n = 120
		}
	}
	var out bytes.Buffer
	ok, err := chaos(&out, options{seed: *seed, operations: n, episode: 40})
	t.Log("\n" + out.String())
	if err != nil || !ok {
		t.Errorf("%v; repeat: go run ./test/chaos -seed %d -operations %d", err, *seed, n)
	}
}
