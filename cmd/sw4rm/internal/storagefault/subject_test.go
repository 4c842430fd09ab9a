package storagefault

import (
	"context"
	"math/rand/v2"

	"github.com/sw4rm/sw4rm-go/cmd/sw4rm/internal/storagecheck"
	"github.com/sw4rm/sw4rm-go/runtime/activity"
	"github.com/sw4rm/sw4rm-go/runtime/store"
	"github.com/sw4rm/sw4rm-go/services/queue/kv"
)

// subject is what stands on a store, at work, with what the driver knows of it.
type subject interface {
	// open opens it over a store.
	open(ctx context.Context, s store.Store) error
	// step does one operation of an actor. Actors work at the same time.
	step(ctx context.Context, actor int, random *rand.Rand) error
	// sweep does what concerns all of them, while none is at work.
	sweep(ctx context.Context, random *rand.Rand) error
	// history is what it has recorded.
	history() *recorder
	// refuses returns an error when something is accepted or answered. It is for stores that have failed.
	refuses(ctx context.Context) error
	// clone returns a subject that goes on from here, over a store that holds the same.
	clone() subject
}

// kind is a kind of subject.
type kind struct {
	name string
	make func() subject
	// open opens what stands on a store as a new process does, and does no more.
	open func(ctx context.Context, s store.Store) error
	// dump reads a store as a new process finds it. The error is what could not be read, and what contradicts itself.
	dump func(ctx context.Context, s store.Store) (storagecheck.Dump, error)
}

// actors is how many work on one subject.
const actors = 3

func kinds() []kind {
	return []kind{
		{"buffer", newBuffer, openBuffer, dumpBuffer},
		{"queue", newQueue, openQueue, dumpQueue},
	}
}

// Nothing has run out when runs begin.

func openBuffer(ctx context.Context, s store.Store) error {
	_, err := activity.Open(ctx, s, bufferConfig(began))
	return err
}

func openQueue(ctx context.Context, s store.Store) error {
	_, err := kv.Open(ctx, s, queueOptions(began))
	return err
}
