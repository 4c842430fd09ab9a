package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

// envRole makes the test binary one of the agents of a test in place of running the tests.
const envRole = "SW4RM_E2E_ROLE"

func TestMain(m *testing.M) {
	if role := os.Getenv(envRole); role != "" {
		if err := play(role); err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", role, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if err := os.RemoveAll(built.dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		os.Exit(code)
	}))
}

// play runs the process as one of the agents.
func play(role string) error {
	p, err := loadPart()
	if err != nil {
		return err
	}
	switch role {
	case roleWorker:
		return work(p)
	case roleClient:
		return drive(p)
	default:
		return fmt.Errorf("there is no role %q", role)
	}
}

// built is the sw4rm command, built when a test first asks for it.
var built struct {
	once sync.Once
	dir  string
	path string
	err  error
}

// command returns the path of the sw4rm command.
func command(t *testing.T) string {
	t.Helper()
	built.once.Do(func() { built.path, built.err = build() })
	if built.err != nil {
		t.Fatalf("build sw4rm: %v", built.err)
	}
	return built.path
}

func build() (string, error) {
	var err error
	if built.dir, err = os.MkdirTemp("", "sw4rm-e2e-bin-"); err != nil {
		return "", err
	}
	path := filepath.Join(built.dir, "sw4rm")
	out, err := exec.Command("go", "build", "-o", path, "github.com/sw4rm/sw4rm-go/cmd/sw4rm").CombinedOutput()
	if err != nil {
		return "", errors.Join(err, errors.New(string(out)))
	}
	return path, nil
}
