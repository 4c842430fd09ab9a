package storagefault

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/sw4rm/sw4rm-go/cmd/sw4rm/internal/storagecheck"
	"github.com/sw4rm/sw4rm-go/runtime/store"
)

// TestDamage flips bits, cuts files off, and overwrites parts of them in directories that were closed, or whose process was
// killed. Opening or reading tells of each, with the name of a file, or nothing is different.
func TestDamage(t *testing.T) {
	s := read(t)
	for _, k := range kinds() {
		t.Run(k.name, func(t *testing.T) {
			images := int64(s.times(2_500))
			var n damages
			for seed := s.seed; n.images.Load() < images && !t.Failed(); seed++ {
				if f := damageRun(t.Context(), k, seed, &n); f != nil {
					f.report(t, seed)
				}
			}
			t.Log(&n)
			require.NoError(t, n.check(floor{images: images, faults: images, vouched: images}))
			require.Greater(t, n.noticed.Load(), images/2, "the run is vacuous")
		})
	}
}

// damages counts.
type damages struct {
	counts
	noticed atomic.Int64
}

// String tells the counts.
func (d *damages) String() string {
	return fmt.Sprintf("%d damaged images, %d noticed, %d harmless", d.images.Load(), d.noticed.Load(), d.images.Load()-d.noticed.Load())
}

// perRun is how many damaged images one directory gives.
const perRun = 250

// damageRun makes a directory and damages it in many ways.
func damageRun(ctx context.Context, k kind, seed uint64, n *damages) *failure {
	sub := k.make()
	disk := vfs.NewCrashableMem()
	if err := alone(ctx, disk, sub, seed, rounds(seed/2)); err != nil {
		return &failure{err: fmt.Errorf("make the directory: %w", err), events: sub.history().all()}
	}
	if seed%2 == 0 {
		// A process that is killed leaves everything that it has written, and no orderly end.
		s, err := openStore(disk)
		if err == nil {
			err = sub.open(ctx, s)
		}
		random := rand.New(rand.NewPCG(seed, 1))
		for step := 0; step < steps && err == nil; step++ {
			err = sub.step(ctx, step%actors, random)
		}
		if err != nil {
			return &failure{err: fmt.Errorf("go on: %w", err), events: sub.history().all()}
		}
		killed := clone(disk, 100, seed)
		if err := s.Close(); err != nil {
			return &failure{err: err, events: sub.history().all()}
		}
		disk = killed
	}
	events := sub.history().all()
	run, err := storagecheck.NewRun(events)
	if err != nil {
		return &failure{err: err, events: events}
	}
	whole, err := readAll(disk)
	if err != nil {
		return &failure{err: err, events: events}
	}
	crew := newCrew()
	found := make(chan *failure, 1)
	random := rand.New(rand.NewPCG(seed, 2))
	cut := storagecheck.Cut{Before: len(events), After: len(events)}
	for range perRun {
		doing, files := damage(whole, random)
		crew.tasks <- func() {
			if err := readDamaged(ctx, k, run, cut, files, n); err != nil {
				select {
				case found <- &failure{fmt.Errorf("%s: %w", doing, err), events, cut, diskOf(files)}:
				default:
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

// readDamaged opens a damaged directory.
func readDamaged(ctx context.Context, k kind, run *storagecheck.Run, cut storagecheck.Cut, files map[string][]byte, n *damages) error {
	disk := diskOf(files)
	n.faults.Add(1)
	dump, err := readDisk(ctx, k, disk)
	if err == nil {
		found, err := run.Check(cut, dump)
		n.add(found)
		return err
	}
	n.images.Add(1)
	n.vouched.Add(1)
	n.noticed.Add(1)
	for _, one := range flat(err) {
		if err := named(one); err != nil {
			return err
		}
	}
	return nil
}

// flat returns the errors that were joined.
func flat(err error) []error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()
	}
	return []error{err}
}

// named tells whether an error says that there is damage, and where: any other one is a consequence that hides its cause.
func named(err error) error {
	var damage *store.DamagedError
	var other *store.PermissionError
	switch {
	case errors.As(err, &damage) && damage.File != "":
	case errors.As(err, &other) && strings.Contains(other.Problem, "sw4rm.format"): // without it the directory is nobody's
	default:
		return fmt.Errorf("it is no damage with a file: %w", err)
	}
	return nil
}

func readAll(disk vfs.FS) (map[string][]byte, error) {
	names, err := disk.List(directory)
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{}
	for _, name := range names {
		if files[name], err = readFile(disk, name); err != nil {
			return nil, err
		}
	}
	return files, nil
}

// diskOf returns a disk with these files. A disk that cannot be made has none of them, which shows.
func diskOf(files map[string][]byte) *vfs.MemFS {
	disk := vfs.NewMem()
	err := disk.MkdirAll(directory, 0o700)
	for name, data := range files {
		var f vfs.File
		if f, err = disk.Create(path.Join(directory, name), vfs.WriteCategoryUnspecified); err != nil {
			break
		}
		_, err = f.Write(slices.Clone(data))
		if err = errors.Join(err, f.Close()); err != nil {
			break
		}
	}
	if err != nil {
		return vfs.NewMem()
	}
	return disk
}

// damage changes one file, and says how. Every file is as likely as any other, however small it is.
func damage(whole map[string][]byte, random *rand.Rand) (doing string, files map[string][]byte) {
	names := slices.DeleteFunc(slices.Sorted(maps.Keys(whole)), func(name string) bool { return len(whole[name]) == 0 })
	name := names[random.IntN(len(names))]
	data := slices.Clone(whole[name])
	at := random.IntN(len(data))
	end := min(len(data), at+1+random.IntN(600))
	switch random.IntN(10) {
	case 0, 1:
		data = data[:at]
		doing = fmt.Sprintf("%s ends at byte %d", name, at)
	case 2:
		clear(data[at:end])
		doing = fmt.Sprintf("%s has zeros in bytes %d to %d", name, at, end)
	case 3:
		copy(data[at:end], bytes.Repeat([]byte{0xa5}, end-at))
		doing = fmt.Sprintf("%s has something else in bytes %d to %d", name, at, end)
	default:
		bit := random.IntN(8)
		data[at] ^= 1 << bit
		doing = fmt.Sprintf("%s has bit %d of byte %d flipped", name, bit, at)
	}
	files = maps.Clone(whole)
	files[name] = data
	return doing, files
}
