package bench_test

import (
	"os"
	"runtime"
	"testing"

	"go.uber.org/goleak"
)

// TestMain lets at least four goroutines run at once, as the commands do: on two processors, goroutines that wait for the
// disk keep others from running, and the figures of one run differ from the next by a factor.
func TestMain(m *testing.M) {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(max(4, runtime.NumCPU()))
	}
	goleak.VerifyTestMain(m)
}
