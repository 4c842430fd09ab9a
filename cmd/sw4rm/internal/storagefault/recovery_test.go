package storagefault

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/stretchr/testify/require"

	"github.com/sw4rm/sw4rm-go/cmd/sw4rm/internal/storagecheck"
)

// TestPowerCutDuringRecovery cuts the power a second time, before every operation of the file system while a directory is
// opened after a first power cut: the store, and the buffer or queue on it, which write too.
func TestPowerCutDuringRecovery(t *testing.T) {
	s := read(t)
	for _, k := range kinds() {
		t.Run(k.name, func(t *testing.T) {
			images := int64(s.times(1_000))
			var n counts
			for seed := s.seed; n.images.Load() < images && !t.Failed(); seed++ {
				if f := recoveryRun(t.Context(), k, seed, &n); f != nil {
					f.report(t, seed)
				}
			}
			t.Log(&n)
			require.NoError(t, n.check(floor{images: images, faults: images / 300, vouched: images}))
		})
	}
}

// everyShot is of how many images one is opened while the power fails again. It has no divisor in common with the number
// of images at one operation, so that all kinds come.
const everyShot = 71

// recoveryRun opens some images of a run, and checks an image from before every operation of that.
func recoveryRun(ctx context.Context, k kind, seed uint64, n *counts) *failure {
	run, shots, f := shoot(ctx, k, seed, plan{}, func(number int) bool { return number%everyShot == int(seed)%everyShot })
	if f != nil {
		return f
	}
	crew := newCrew()
	var mu sync.Mutex
	var found *failure
	for _, shot := range shots.taken {
		crew.tasks <- func() {
			f := recoverTwice(ctx, k, run, shot, seed, n)
			mu.Lock()
			defer mu.Unlock()
			if f != nil {
				f.events, f.cut = shots.history.all(), shot.cut
				found = f
			}
		}
	}
	crew.wait()
	return found
}

// recoverTwice opens one image. What is told then must not change by another power cut.
func recoverTwice(ctx context.Context, k kind, run *storagecheck.Run, shot *shot, seed uint64, n *counts) *failure {
	n.faults.Add(1)
	disk := clone(shot.disk, 100, seed)
	var mu sync.Mutex
	var images []*vfs.MemFS
	s, err := openStore(watched(disk, func(errorfs.Op) error {
		mu.Lock()
		defer mu.Unlock()
		for _, percent := range percents() {
			images = append(images, clone(disk, percent, seed+uint64(len(images))))
		}
		return nil
	}))
	if err != nil {
		return &failure{err: fmt.Errorf("open the store: %w", err), disk: shot.disk}
	}
	if err := k.open(ctx, s); err != nil {
		return &failure{err: fmt.Errorf("open the %s: %w", k.name, errors.Join(err, s.Close())), disk: shot.disk}
	}
	if err := s.Close(); err != nil { // only now what nobody waited for is on its way
		return &failure{err: fmt.Errorf("close the store: %w", err), disk: shot.disk}
	}
	for at := 0; at < len(images); at += stride() {
		image := images[at]
		dump := dumpDisk(ctx, k, clone(image, 100, 0))
		found, err := run.Check(shot.cut, dump)
		n.add(found)
		if err == nil {
			err = storagecheck.Same(shot.dump, dump)
		}
		if err != nil {
			return &failure{err: err, disk: image}
		}
	}
	return nil
}
