package router

import (
	"fmt"
	"testing"

	transportpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/transport/v1"
	"github.com/sw4rm/sw4rm-go/runtime/store"
	"github.com/sw4rm/sw4rm-go/runtime/store/pebble"
)

// BenchmarkConnect sends messages of one agent to another, with up to so many under way at a time.
func BenchmarkConnect(b *testing.B) {
	for _, window := range []int{1, 64, 512} {
		b.Run(fmt.Sprintf("memory/window=%d", window), func(b *testing.B) { exchangeMessages(b, store.NewMemory(), window) })
		b.Run(fmt.Sprintf("pebble/window=%d", window), func(b *testing.B) {
			db, err := pebble.Open(b.TempDir()+"/data", pebble.Options{Profile: pebble.Service, Logger: quiet()})
			if err != nil {
				b.Fatal(err)
			}
			exchangeMessages(b, store.Sub(db, "queue/"), window)
			if err := db.Close(); err != nil {
				b.Fatal(err)
			}
		})
	}
}

func exchangeMessages(b *testing.B, s store.Store, window int) {
	w := serve(b, s, Options{}, false)
	from, to := w.connect(hello("a", "sa", 1)), w.connect(hello("b", "sb", 1))
	places := make(chan struct{}, window)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range b.N {
			d := wait(b, to.deliveries[work])
			<-places
			to.frames(&transportpb.AgentFrame{Frame: &transportpb.AgentFrame_DeliveryAck{DeliveryAck: &transportpb.DeliveryAck{
				Seq: d.GetSeq(), MessageId: d.GetEnvelope().GetMessageId(),
			}}}, &transportpb.AgentFrame{Frame: &transportpb.AgentFrame_Credit{Credit: &transportpb.Credit{Class: work, Messages: 1, Bytes: 1 << 10}}})
		}
	}()
	b.ResetTimer()
	for i := range b.N {
		places <- struct{}{}
		from.frames(from.submitFrame("agent:b", envelopeOf(fmt.Sprint("m", i), "a")))
	}
	<-done
	b.StopTimer()
	w.stop()
}
