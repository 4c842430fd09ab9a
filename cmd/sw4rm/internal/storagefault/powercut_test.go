package storagefault

import (
	"context"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/stretchr/testify/require"

	"github.com/sw4rm/sw4rm-go/cmd/sw4rm/internal/storagecheck"
	"github.com/sw4rm/sw4rm-go/runtime/store"
)

// TestPowerCut cuts the power before every operation of the file system while a buffer and a queue are at work, in long runs
// before some of them, and keeps none, half or all of what was not synced.
func TestPowerCut(t *testing.T) {
	s := read(t)
	for _, k := range kinds() {
		t.Run(k.name, func(t *testing.T) {
			images := int64(s.times(10_000))
			var n counts
			for seed := s.seed; n.images.Load() < images && !t.Failed(); seed++ {
				if f := cutRun(t.Context(), k, seed, &n, plan{}); f != nil {
					f.report(t, seed)
				}
			}
			t.Log(&n)
			require.NoError(t, n.check(floor{images: images, cut: images / 2, behind: images / 50, vouched: images}))
		})
	}
}

// steps is how many steps come before a sweep.
const steps = 9

// rounds is how many sweeps a run has: most things end within a few, and what is kept longest goes after ten.
func rounds(seed uint64) int { return 2 + int(seed%4)*3 }

// passedOver is of how many images of a run one is taken. A long run has more of them and holds more.
func passedOver(seed uint64) int { return stride() * max(1, rounds(seed)/4) }

// plan is what a run has beside the ordinary.
type plan struct {
	// store and disk stand between the subject and its store, and between the store and its disk.
	store func(store.Store) store.Store
	disk  func(vfs.FS) vfs.FS
}

// cutRun lets actors work on one subject, and checks an image from before every operation.
func cutRun(ctx context.Context, k kind, seed uint64, n *counts, p plan) *failure {
	run, shots, f := shoot(ctx, k, seed, p, func(number int) bool { return (number+int(seed/4))%passedOver(seed) == 0 })
	if f != nil {
		return f
	}
	n.events.Add(int64(run.Events()))
	for _, shot := range shots.taken {
		found, err := run.Check(shot.cut, shot.dump)
		n.add(found)
		if err != nil {
			return &failure{err, shots.history.all(), shot.cut, shot.disk}
		}
	}
	return nil
}

// shoot lets actors work on one subject, and reads the images from before every operation that wanted says are wanted, by
// their numbers.
func shoot(ctx context.Context, k kind, seed uint64, p plan, wanted func(number int) bool) (*storagecheck.Run, *shots, *failure) {
	disk := vfs.NewCrashableMem()
	sub := k.make()
	shots := &shots{k: k, disk: disk, history: sub.history(), seed: seed, wanted: wanted, crew: newCrew()}
	var under vfs.FS = disk
	if p.disk != nil {
		under = p.disk(disk)
	}
	err := runWork(ctx, watched(under, shots.before), sub, seed, p)
	shots.crew.wait()
	var run *storagecheck.Run
	if err == nil {
		run, err = storagecheck.NewRun(sub.history().all())
	}
	if err != nil {
		return nil, nil, &failure{err: err, events: sub.history().all()}
	}
	return run, shots, nil
}

// runWork opens a subject on a disk, lets its actors work in rounds with a sweep after each, and closes it.
func runWork(ctx context.Context, disk vfs.FS, sub subject, seed uint64, p plan) error {
	s, err := openStore(disk)
	if err != nil {
		return err
	}
	var over store.Store = s
	if p.store != nil {
		over = p.store(s)
	}
	if err := sub.open(ctx, over); err != nil {
		return err
	}
	random := rand.New(rand.NewPCG(seed, 0))
	for round := range rounds(seed) {
		if err := together(ctx, sub, seed, round); err != nil {
			return err
		}
		if err := sub.sweep(ctx, random); err != nil {
			return err
		}
	}
	return s.Close()
}

// together lets the actors work at the same time, and returns the first error.
func together(ctx context.Context, sub subject, seed uint64, round int) error {
	var group sync.WaitGroup
	errs := make([]error, actors)
	for actor := range actors {
		group.Go(func() {
			random := rand.New(rand.NewPCG(seed, uint64(1+actor+round*actors)))
			for range steps {
				if errs[actor] = sub.step(ctx, actor, random); errs[actor] != nil {
					return
				}
			}
		})
	}
	group.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// shots takes images of a disk and has them read.
type shots struct {
	k       kind
	disk    *vfs.MemFS
	history *recorder
	seed    uint64
	wanted  func(number int) bool
	crew    *crew

	mu     sync.Mutex
	number int
	taken  []*shot
}

// shot is an image of a disk and what was found on it.
type shot struct {
	disk *vfs.MemFS
	cut  storagecheck.Cut
	dump storagecheck.Dump
}

func (s *shots) before(errorfs.Op) error {
	for _, percent := range percents() {
		s.mu.Lock()
		s.number++
		number := s.number
		s.mu.Unlock()
		if s.wanted(number) {
			s.take(percent, s.seed+uint64(number))
		}
	}
	return nil
}

func (s *shots) take(percent int, seed uint64) {
	one := &shot{}
	// What has returned before the image is taken must be on it; what has begun by its end may be.
	one.cut.Before = s.history.len()
	one.disk = clone(s.disk, percent, seed)
	one.cut.After = s.history.len()
	s.mu.Lock()
	s.taken = append(s.taken, one)
	s.mu.Unlock()
	s.crew.tasks <- func() {
		one.dump = dumpDisk(context.Background(), s.k, clone(one.disk, 100, 0))
	}
}
