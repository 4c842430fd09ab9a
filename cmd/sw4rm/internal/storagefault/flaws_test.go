package storagefault

import (
	"context"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/sw4rm/sw4rm-go/runtime/store"
)

// TestFlawsShow plants flaws under a buffer and a queue, and wants the power cuts to find each within a few runs: a
// campaign that cannot fail says nothing.
func TestFlawsShow(t *testing.T) {
	if raceEnabled {
		t.Skip("what is watched here is the same as in the other tests")
	}
	const most = 10
	for name, p := range map[string]plan{
		"told before the sync":   {store: func(s store.Store) store.Store { return hasty{s} }},
		"part of a batch":        {store: func(s store.Store) store.Store { return &torn{Store: s} }},
		"nothing is ever synced": {disk: func(fs vfs.FS) vfs.FS { return lazy{fs, false} }},
		"directories not synced": {disk: func(fs vfs.FS) vfs.FS { return lazy{fs, true} }},
	} {
		for _, k := range kinds() {
			t.Run(name+"/"+k.name, func(t *testing.T) {
				var n counts
				for seed := uint64(1); seed <= most; seed++ {
					if f := cutRun(t.Context(), k, seed, &n, p); f != nil {
						first, _, _ := strings.Cut(f.err.Error(), "\n")
						t.Logf("found by seed %d, after %s: %.300s", seed, &n, first)
						return
					}
				}
				t.Errorf("not found in %d runs: %s", most, &n)
			})
		}
	}
}

// hasty says that everything is durable already.
type hasty struct{ store.Store }

func (hasty) Sync(context.Context, store.Mark) error { return nil }

// torn writes the last change of a large batch in a batch of its own.
type torn struct{ store.Store }

func (s *torn) Apply(b *store.Batch) (store.Mark, error) {
	ops := b.Ops()
	if len(ops) < 4 {
		return s.Store.Apply(b)
	}
	var mark store.Mark
	for _, part := range [][]store.Op{ops[:len(ops)-1], ops[len(ops)-1:]} {
		var some store.Batch
		for _, op := range part {
			switch op.Kind {
			case store.OpSet:
				some.Set(op.Key, op.Value)
			case store.OpDelete:
				some.Delete(op.Key)
			case store.OpDeleteRange:
				some.DeleteRange(op.Key, op.Value)
			}
		}
		var err error
		if mark, err = s.Store.Apply(&some); err != nil {
			return 0, err
		}
		if err := s.Store.Sync(context.Background(), mark); err != nil { // so that the parts come into different groups
			return 0, err
		}
	}
	return mark, nil
}

// lazy is a disk that leaves syncs out: all of them, or those of directories.
type lazy struct {
	vfs.FS
	directories bool
}

type unsynced struct{ vfs.File }

func (unsynced) Sync() error                { return nil }
func (unsynced) SyncData() error            { return nil }
func (unsynced) SyncTo(int64) (bool, error) { return true, nil }
func (l lazy) wrap(f vfs.File, err error) (vfs.File, error) {
	if err != nil || l.directories {
		return f, err
	}
	return unsynced{f}, nil
}

func (l lazy) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return l.wrap(l.FS.Create(name, c))
}

func (l lazy) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	return l.wrap(l.FS.OpenReadWrite(name, c, o...))
}

func (l lazy) ReuseForWrite(old, name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return l.wrap(l.FS.ReuseForWrite(old, name, c))
}

func (l lazy) OpenDir(name string) (vfs.File, error) {
	f, err := l.FS.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return unsynced{f}, nil
}

// TestVacuousRunsFail checks that a campaign that did too little, or never met a call, does not pass.
func TestVacuousRunsFail(t *testing.T) {
	var n counts
	require.NoError(t, n.check(floor{}))
	for _, f := range []floor{{images: 1}, {faults: 1}, {cut: 1}, {behind: 1}, {vouched: 1}} {
		require.ErrorContains(t, n.check(f), "vacuous")
	}
}
