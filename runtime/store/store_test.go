package store_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/sw4rm/sw4rm-go/runtime/store"
	"github.com/sw4rm/sw4rm-go/runtime/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestMemory(t *testing.T) {
	storetest.Run(t, func(*testing.T) storetest.Opened {
		m := store.NewMemory()
		return storetest.Opened{Store: m, Reopen: func() store.Store {
			m = m.Reopen()
			return m
		}}
	})
}

func TestSub(t *testing.T) {
	for _, prefix := range []string{"", "a/", "a\xff", "\xff\xff"} {
		t.Run(prefix, func(t *testing.T) {
			storetest.Run(t, func(t *testing.T) storetest.Opened {
				m := store.NewMemory()
				return storetest.Opened{
					Store: store.Sub(m, prefix),
					Close: m.Close,
					Reopen: func() store.Store {
						m = m.Reopen()
						return store.Sub(m, prefix)
					},
				}
			})
		})
	}
}

func TestSubsDoNotMeet(t *testing.T) {
	m := store.NewMemory()
	subs := []store.Store{store.Sub(m, "a/"), store.Sub(m, "b/"), store.Sub(m, "\xff")}
	for i, s := range subs {
		var b store.Batch
		b.Set([]byte("k"), []byte{byte(i)})
		require.NoError(t, store.Write(t.Context(), s, &b))
	}
	for i, s := range subs {
		value, err := s.Get([]byte("k"))
		require.NoError(t, err)
		require.Equal(t, []byte{byte(i)}, value)
	}
	var b store.Batch
	b.DeleteRange(nil, nil)
	require.NoError(t, store.Write(t.Context(), subs[1], &b))
	_, err := subs[1].Get([]byte("k"))
	require.ErrorIs(t, err, store.ErrNotFound)
	for _, s := range []store.Store{subs[0], subs[2]} {
		_, err := s.Get([]byte("k"))
		require.NoError(t, err)
	}
	require.NoError(t, subs[0].Close())
	_, err = subs[0].Get([]byte("k"))
	require.NoError(t, err, "closing a Sub does nothing")
}

func TestMemoryFails(t *testing.T) {
	m := store.NewMemory()
	s := store.Sub(m, "a/")
	require.NoError(t, s.Err())
	cause := errors.New("disk on fire")
	m.Fail(cause)
	m.Fail(errors.New("later"))
	select {
	case <-s.Failed():
	default:
		t.Fatal("Failed is not closed")
	}
	var b store.Batch
	b.Set([]byte("k"), nil)
	_, err := s.Apply(&b)
	for _, err := range []error{err, s.Err(), s.Sync(t.Context(), 0), s.Scan(nil, nil, nil)} {
		require.ErrorIs(t, err, store.ErrFailed)
		require.ErrorIs(t, err, cause)
	}
	require.NoError(t, m.Close())
	again := m.Reopen()
	require.NoError(t, again.Err())
	_, err = again.Get([]byte("a/k"))
	require.ErrorIs(t, err, store.ErrNotFound)
}

func TestMemoryInBubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := store.NewMemory()
		go func() {
			time.Sleep(time.Hour)
			m.Fail(context.DeadlineExceeded)
		}()
		<-m.Failed()
		require.ErrorIs(t, m.Err(), context.DeadlineExceeded)
	})
}
