package storagefault

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/sw4rm/sw4rm-go/cmd/sw4rm/internal/storagecheck"
	"github.com/sw4rm/sw4rm-go/runtime/store/pebble"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// settings are how much a campaign does, and where it begins.
type settings struct {
	scale int
	seed  uint64
}

// read reads the settings. The race detector makes everything an order of magnitude slower, and gets as much less to do.
func read(t *testing.T) settings {
	t.Helper()
	s := settings{scale: 1, seed: 1}
	if text := os.Getenv("SW4RM_TORTURE"); text != "" {
		n, err := strconv.Atoi(text)
		require.NoError(t, err, "SW4RM_TORTURE")
		s.scale = n
	}
	if text := os.Getenv("SW4RM_SEED"); text != "" {
		n, err := strconv.ParseUint(text, 10, 64)
		require.NoError(t, err, "SW4RM_SEED")
		s.seed = n
	}
	return s
}

// times is how much there is of something that n makes a short form.
func (s settings) times(n int) int {
	if raceEnabled {
		n = max(1, n/raceShare)
	}
	return n * s.scale
}

// raceShare is by how much less is done under the race detector.
const raceShare = 20

// stride is how many of the images and faults of one run are passed over for each that is not, so that what is done under
// the race detector comes from several runs.
func stride() int {
	if raceEnabled {
		return raceShare
	}
	return 1
}

// directory is where every store lies in its file system.
const directory = "data"

func openStore(fs vfs.FS) (*pebble.DB, error) {
	return pebble.Open(directory, pebble.Options{Profile: pebble.Tiny, FS: fs, Logger: slog.New(slog.DiscardHandler)})
}

// readDisk reads a directory as a new process finds it.
func readDisk(ctx context.Context, k kind, fs vfs.FS) (storagecheck.Dump, error) {
	s, err := openStore(fs)
	if err != nil {
		return storagecheck.Dump{}, fmt.Errorf("open the store: %w", err)
	}
	d, err := k.dump(ctx, s)
	if closing := s.Close(); closing != nil {
		err = errors.Join(err, fmt.Errorf("close the store: %w", closing))
	}
	return d, err
}

// dumpDisk is readDisk for a directory that has to be readable.
func dumpDisk(ctx context.Context, k kind, fs vfs.FS) storagecheck.Dump {
	d, err := readDisk(ctx, k, fs)
	if err != nil {
		d.Problems = append(d.Problems, err.Error())
	}
	return d
}

// crew works on tasks with as many goroutines as there are processors. Whoever adds tasks waits when they are behind.
type crew struct {
	tasks chan func()
	done  sync.WaitGroup
}

func newCrew() *crew {
	c := &crew{tasks: make(chan func(), 64)}
	for range runtime.GOMAXPROCS(0) {
		c.done.Go(func() {
			for task := range c.tasks {
				task()
			}
		})
	}
	return c
}

// wait ends the crew when all is done.
func (c *crew) wait() {
	close(c.tasks)
	c.done.Wait()
}

// counts are what a campaign has done.
type counts struct {
	// Images were opened and checked, after Faults faults that hit.
	images, faults atomic.Int64
	// Of the images, cut were taken while calls were under way, behind lack something that was not vouched for; vouched
	// counts the objects that had to be there.
	cut, behind, vouched atomic.Int64
	events               atomic.Int64
}

func (c *counts) add(f storagecheck.Found) {
	c.images.Add(1)
	c.cut.Add(int64(one(f.Cut)))
	c.behind.Add(int64(one(f.Behind)))
	c.vouched.Add(int64(f.Vouched))
}

// floor is what a campaign must have done to mean something.
type floor struct{ images, faults, cut, behind, vouched int64 }

func (c *counts) check(f floor) error {
	var errs []error
	for _, n := range []struct {
		name      string
		is, least int64
	}{
		{"images", c.images.Load(), f.images},
		{"faults that hit", c.faults.Load(), f.faults},
		{"images during a call", c.cut.Load(), f.cut},
		{"images behind what was written", c.behind.Load(), f.behind},
		{"objects vouched for", c.vouched.Load(), f.vouched},
	} {
		if n.is < n.least {
			errs = append(errs, fmt.Errorf("the run is vacuous: %d %s, at least %d are needed", n.is, n.name, n.least))
		}
	}
	return errors.Join(errs...)
}

func (c *counts) String() string {
	return fmt.Sprintf("%d images (%d during a call, %d behind what was written), %d faults that hit, %d objects vouched for, %d events",
		c.images.Load(), c.cut.Load(), c.behind.Load(), c.faults.Load(), c.vouched.Load(), c.events.Load())
}

// failure is a broken promise with what shows it.
type failure struct {
	err    error
	events []storagecheck.Event
	cut    storagecheck.Cut
	disk   vfs.FS // nil when there is none
}

// report reports a failure with what repeats it, and keeps what shows it.
func (f *failure) report(t *testing.T, seed uint64) {
	t.Helper()
	dir := os.Getenv("SW4RM_KEEP")
	if dir == "" {
		dir = os.TempDir()
	}
	dir, err := os.MkdirTemp(dir, "sw4rm-violation-")
	if err == nil {
		err = f.keep(dir)
	}
	t.Errorf("%.4000s\nrepeat: SW4RM_SEED=%d go test ./cmd/sw4rm/internal/storagefault -run '^%s$'\nhistory and image: %s %v",
		f.err.Error(), seed, strings.ReplaceAll(t.Name(), "/", "$/^"), dir, err)
}

// keep writes history and disk into a directory.
func (f *failure) keep(dir string) error {
	file, err := os.Create(filepath.Join(dir, "history.jsonl"))
	if err != nil {
		return err
	}
	if err := errors.Join(storagecheck.Write(file, f.events), file.Close()); err != nil {
		return err
	}
	text, err := json.Marshal(f.cut)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "cut.json"), text, 0o600)
	}
	if err != nil || f.disk == nil {
		return err
	}
	names, err := f.disk.List(directory)
	if err != nil {
		return err
	}
	if err := os.Mkdir(filepath.Join(dir, directory), 0o700); err != nil {
		return err
	}
	for _, name := range names {
		if err := copyOut(f.disk, name, filepath.Join(dir, directory, name)); err != nil {
			return err
		}
	}
	return nil
}

func copyOut(disk vfs.FS, name, to string) error {
	data, err := readFile(disk, name)
	if err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o600)
}

func readFile(disk vfs.FS, name string) ([]byte, error) {
	f, err := disk.Open(disk.PathJoin(directory, name))
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(f)
	return data, errors.Join(err, f.Close())
}
