package pebble_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/sw4rm/sw4rm-go/runtime/store/pebble"
)

// childDir names, in a child process, the directory to append to until it is killed.
const childDir = "SW4RM_STORE_TEST_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		if err := appendForEver(dir, os.Getenv(childDir+"_FIRST"), os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		os.Exit(1) // it was to be killed
	}
	goleak.VerifyTestMain(m)
}

// appendForEver appends records from several goroutines, and prints each one's number when it is durable.
func appendForEver(dir, from string, out io.Writer) error {
	first, err := strconv.Atoi(from)
	if err != nil {
		return err
	}
	d, err := pebble.Open(dir, quiet(nil).Tiny())
	if err != nil {
		return err
	}
	const goroutines = 4
	errs := make(chan error, goroutines)
	for g := range goroutines {
		go func() {
			for n := first + g; ; n += goroutines {
				if err := appendRecord(context.Background(), d, n); err != nil {
					errs <- err
					return
				}
				if _, err := fmt.Fprintln(out, n); err != nil {
					errs <- err
					return
				}
			}
		}()
	}
	return <-errs
}

// TestKill kills a process that appends, again and again on one directory, and looks for what it had acknowledged.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	random := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 0))
	var acked []int
	var epoch uint64
	for range 15 {
		first := 0
		for _, n := range acked {
			first = max(first, n+1000) // beyond what was written and not acknowledged
		}
		acked = append(acked, killOne(t, dir, first, 20+random.IntN(300))...)
		d, err := pebble.Open(dir, quiet(nil).Tiny())
		require.NoError(t, err)
		require.NoError(t, checkRecords(d, acked))
		require.Equal(t, epoch+2, d.Instance().Epoch, "the child's opening and this one")
		epoch = d.Instance().Epoch
		require.NoError(t, d.Close())
	}
	t.Log(len(acked), "acknowledged records")
}

// killOne kills a child after it has acknowledged count records or a few more, and returns them all.
func killOne(t *testing.T, dir string, first, count int) (acked []int) {
	t.Helper()
	child := exec.CommandContext(t.Context(), os.Args[0])
	child.Env = append(os.Environ(), childDir+"="+dir, childDir+"_FIRST="+strconv.Itoa(first))
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, child.Start())
	for lines := bufio.NewScanner(out); lines.Scan(); {
		n, err := strconv.Atoi(lines.Text())
		require.NoError(t, err)
		if acked = append(acked, n); len(acked) == count {
			require.NoError(t, child.Process.Kill())
		}
	}
	require.Error(t, child.Wait(), "the child ended by itself")
	require.GreaterOrEqual(t, len(acked), count)
	return acked
}

// TestPowerCut takes images of the disk as power cuts at many moments would leave them, with none, half or all of what
// was not synced, and opens each.
func TestPowerCut(t *testing.T) {
	rounds := 10
	if testing.Short() {
		rounds = 3
	}
	random := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 1))
	for range rounds {
		cutPower(t, random, 25)
	}
}

// cutPower fills one store in the given number of steps. In each, writers append while images are taken.
func cutPower(t *testing.T, random *rand.Rand, steps int) {
	t.Helper()
	mem := vfs.NewCrashableMem()
	d, err := pebble.Open("data", quiet(mem).Tiny())
	require.NoError(t, err)
	var done promised
	for step := range steps {
		var writers sync.WaitGroup
		for w := range 4 {
			writers.Go(func() {
				for i := range 5 {
					n := (step*4+w)*5 + i
					if err := appendRecord(t.Context(), d, n); err != nil {
						t.Error(err)
						return
					}
					done.add(n)
				}
			})
		}
		for _, percent := range []int{0, 50, 100, 0, 50, 100} {
			acked := done.all()
			image := mem.CrashClone(vfs.CrashCloneCfg{
				UnsyncedDataPercent: percent, RNG: rand.New(rand.NewPCG(random.Uint64(), 2)),
			})
			checkImage(t, image, acked, d.Instance().Epoch)
		}
		writers.Wait()
	}
	require.NoError(t, d.Close())
}

// promised collects the numbers of records that are durable.
type promised struct {
	mu      sync.Mutex
	numbers []int
}

func (p *promised) add(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.numbers = append(p.numbers, n)
}

func (p *promised) all() []int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.numbers)
}

func checkImage(t *testing.T, image *vfs.MemFS, promised []int, epoch uint64) {
	t.Helper()
	again, err := pebble.Open("data", quiet(image).Tiny())
	require.NoError(t, err)
	require.Greater(t, again.Instance().Epoch, epoch)
	require.NoError(t, checkRecords(again, promised))
	require.NoError(t, again.Close())
}
