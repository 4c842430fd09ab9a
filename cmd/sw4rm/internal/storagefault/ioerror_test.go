package storagefault

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/stretchr/testify/require"

	"github.com/sw4rm/sw4rm-go/cmd/sw4rm/internal/storagecheck"
	"github.com/sw4rm/sw4rm-go/runtime/store"
)

// TestFailingDisk lets every operation of the file system fail that a buffer and a queue cause: once, from then on, because
// the disk is full, and in the middle of a write. After that nothing may be accepted or answered; and what was answered
// before must be there when the directory is opened on a disk that works, also after a power cut.
func TestFailingDisk(t *testing.T) {
	testFailing(t, failures{kinds: faultKinds(), every: 1}, 2_500)
}

// TestFailingReads is TestFailingDisk for the operations that only read, of which most come with opening. A store that was
// not opened yet says that it does not open, and nothing on the disk is another.
func TestFailingReads(t *testing.T) {
	testFailing(t, failures{kinds: readFaultKinds(), every: 2}, 200)
}

// failures are the ways in which every so many operations fail.
type failures struct {
	kinds []faultKind // all for the same operations
	every int64
}

// testFailing makes as many faults of each subject, in the short form.
func testFailing(t *testing.T, of failures, short int) {
	s := read(t)
	for _, k := range kinds() {
		t.Run(k.name, func(t *testing.T) {
			faults := int64(s.times(short))
			var n counts
			for seed := s.seed; n.faults.Load() < faults && !t.Failed(); seed++ {
				if f := failingRun(t.Context(), k, seed, of, &n); f != nil {
					f.report(t, seed)
				}
			}
			t.Log(&n)
			require.NoError(t, n.check(floor{images: 2 * faults, faults: faults, cut: faults / 2, vouched: faults}))
		})
	}
}

// faultKind is a way in which operations fail.
type faultKind struct {
	name    string
	which   func(errorfs.Op) bool
	onwards bool
	half    bool // half of a write may reach the disk
	err     error
}

func faultKinds() []faultKind {
	return []faultKind{
		{"once", changes, false, false, syscall.EIO},
		{"from then on", changes, true, false, syscall.EIO},
		{"disk full", changes, true, true, syscall.ENOSPC},
	}
}

func readFaultKinds() []faultKind {
	return []faultKind{
		{"reading, once", reads, false, false, syscall.EIO},
		{"reading, from then on", reads, true, false, syscall.EIO},
	}
}

// failingRun makes a directory and what happens to it afterwards, and repeats that with operations failing in each way.
func failingRun(ctx context.Context, k kind, seed uint64, of failures, n *counts) *failure {
	base := k.make()
	made := vfs.NewCrashableMem()
	if err := alone(ctx, made, base, seed, rounds(seed)); err != nil {
		return &failure{err: fmt.Errorf("make the directory: %w", err), events: base.history().all()}
	}
	var operations fault // none of which fails
	operations.left.Store(1 << 40)
	good := base.clone()
	if err := alone(ctx, watchedFor(clone(made, 100, seed), of.kinds[0].which, operations.before), good, seed+1, 1); err != nil {
		return &failure{err: fmt.Errorf("go on without faults: %w", err), events: good.history().all()}
	}
	events := good.history().all()
	run, err := storagecheck.NewRun(events)
	if err != nil {
		return &failure{err: err, events: events}
	}
	n.events.Add(int64(len(events)))
	crew := newCrew()
	found := make(chan *failure, 1)
	for at := int64(0); at < 1<<40-operations.left.Load(); at += of.every * int64(stride()) {
		for _, kind := range of.kinds {
			crew.tasks <- func() {
				if len(found) > 0 {
					return
				}
				f := &failing{k: k, kind: kind, at: at, run: run, want: events, n: n, disk: clone(made, 100, seed), sub: base.clone()}
				if err := f.do(ctx, seed+1); err != nil {
					err = fmt.Errorf("operation %d fails, %s: %w", at, kind.name, err)
					select {
					case found <- &failure{err, f.sub.history().all(), f.cut, f.disk}:
					default:
					}
				}
			}
		}
	}
	crew.wait()
	select {
	case f := <-found:
		return f
	default:
		return nil
	}
}

// alone lets the actors of a subject work one after another, so that the same seed does the same again.
func alone(ctx context.Context, disk vfs.FS, sub subject, seed uint64, rounds int) error {
	s, err := openStore(disk)
	if err != nil {
		return err
	}
	if err := sub.open(ctx, s); err != nil {
		return &stopped{err, s, nil}
	}
	random := rand.New(rand.NewPCG(seed, 0))
	for range rounds {
		for step := 0; step < steps && err == nil; step++ {
			err = sub.step(ctx, step%actors, random)
		}
		if err == nil {
			err = sub.sweep(ctx, random)
		}
	}
	if err == nil {
		return s.Close()
	}
	return &stopped{err, s, sub}
}

// stopped is the error at which a subject stopped to work, with its store still open. It is nil when it did not open.
type stopped struct {
	error
	store store.Store
	sub   subject
}

func (s *stopped) Unwrap() error { return s.error }

// failing is one run with one fault.
type failing struct {
	k    kind
	kind faultKind
	at   int64
	run  *storagecheck.Run
	// want is what happens without a fault.
	want []storagecheck.Event
	n    *counts
	disk *vfs.MemFS
	sub  subject
	cut  storagecheck.Cut
}

func (f *failing) do(ctx context.Context, seed uint64) error {
	fault := fault{onwards: f.kind.onwards, err: f.kind.err}
	fault.left.Store(f.at)
	disk := watchedFor(f.disk, f.kind.which, fault.before)
	if f.kind.half {
		disk = halving{disk}
	}
	cut, err := f.compare(ctx, alone(ctx, disk, f.sub, seed, 1))
	if err != nil {
		return err
	}
	if fault.hit.Load() == 0 {
		return nil // what happens in the background comes in another order
	}
	f.n.faults.Add(1)
	f.cut = cut
	for _, image := range []*vfs.MemFS{clone(f.disk, 100, seed), clone(f.disk, 0, seed), clone(f.disk, 50, seed+uint64(f.at))} {
		found, err := f.run.Check(f.cut, dumpDisk(ctx, f.k, image))
		f.n.add(found)
		if err != nil {
			f.disk = image
			return err
		}
	}
	return nil
}

// compare tells whether everything happened as it does without a fault, up to the first error, and nothing afterwards. It
// returns where that was.
func (f *failing) compare(ctx context.Context, err error) (storagecheck.Cut, error) {
	got := f.sub.history().all()
	end := len(got)
	var s *stopped
	if errors.As(err, &s) {
		defer func() { _ = s.store.Close() }() // it has failed
		if !errors.Is(err, store.ErrFailed) || !errors.Is(err, f.kind.err) {
			return storagecheck.Cut{}, fmt.Errorf("the first error is not the store's failure: %w", err)
		}
		if end > 0 && got[end-1].Kind == storagecheck.Unknown {
			end--
		}
	} else if err != nil && !errors.Is(err, f.kind.err) {
		return storagecheck.Cut{}, fmt.Errorf("opening and closing tell of something else than the disk: %w", err)
	}
	cut := storagecheck.Cut{Before: end, After: end}
	for at := range end {
		if text(got[at]) != text(f.want[at]) {
			return cut, fmt.Errorf("event %d is %s\n\tand without a fault %s", at, text(got[at]), text(f.want[at]))
		}
	}
	if s != nil && s.sub != nil {
		if err := s.sub.refuses(ctx); err != nil {
			return cut, fmt.Errorf("after the failure: %w", err)
		}
	}
	return cut, nil
}

func text(e storagecheck.Event) string {
	b, err := json.Marshal(e)
	if err != nil {
		return err.Error()
	}
	return string(b)
}
