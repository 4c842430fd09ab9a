package golden

//lint:file-ignore SA1019 what is deprecated in a schema has to travel too

import (
	"context"
	"fmt"
	"reflect"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/sw4rm/sw4rm-go/golden/aliases"
	"github.com/sw4rm/sw4rm-go/golden/all"
	besidegrpc "github.com/sw4rm/sw4rm-go/golden/beside_grpc"
	"github.com/sw4rm/sw4rm-go/golden/comments"
	"github.com/sw4rm/sw4rm-go/golden/defaults"
	"github.com/sw4rm/sw4rm-go/golden/deprecated"
	"github.com/sw4rm/sw4rm-go/golden/editions"
	"github.com/sw4rm/sw4rm-go/golden/exchanges"
	"github.com/sw4rm/sw4rm-go/golden/filenames"
	"github.com/sw4rm/sw4rm-go/golden/keys"
	"github.com/sw4rm/sw4rm-go/golden/keywords"
	"github.com/sw4rm/sw4rm-go/golden/large"
	"github.com/sw4rm/sw4rm-go/golden/methods"
	"github.com/sw4rm/sw4rm-go/golden/nested"
	nopackage "github.com/sw4rm/sw4rm-go/golden/no_package"
	onlyhandle "github.com/sw4rm/sw4rm-go/golden/only_handle"
	onlysend "github.com/sw4rm/sw4rm-go/golden/only_send"
	"github.com/sw4rm/sw4rm-go/golden/opaque"
	"github.com/sw4rm/sw4rm-go/golden/proto2"
	"github.com/sw4rm/sw4rm-go/golden/settings"
	"github.com/sw4rm/sw4rm-go/golden/shapes"
	"github.com/sw4rm/sw4rm-go/golden/skip"
	suffix "github.com/sw4rm/sw4rm-go/golden/suffix/suffixsw4rm"
	twofiles "github.com/sw4rm/sw4rm-go/golden/two_files"
	"github.com/sw4rm/sw4rm-go/runtime/address"
	"github.com/sw4rm/sw4rm-go/runtime/agenttest"
	"github.com/sw4rm/sw4rm-go/runtime/exchange"
)

// generated are all descriptors that the golden schemas generate, by service and payload.
func generated() []any {
	return []any{
		aliases.AliasesExchanges, all.UnmarkedExchanges, all.EmptyExchanges, besidegrpc.ReviewerExchanges, besidegrpc.IdleExchanges,
		comments.CommentsExchanges, defaults.InheritsExchanges, defaults.OverridesExchanges, deprecated.OldExchanges,
		deprecated.NewExchanges, deprecated.InOldFileExchanges, editions.EditionsExchanges, exchanges.WorkerExchanges,
		exchanges.ToolsExchanges, exchanges.ForeignExchanges, exchanges.HeartbeatExchange, exchanges.Heartbeat_PulseExchange,
		exchanges.RetiredExchange, filenames.S1StExchanges, filenames.SUpperExchanges, filenames.SjobTestExchanges,
		filenames.SmyJobV1Exchanges, keys.KeysExchanges, keywords.TypeExchanges, large.Service0Exchanges, large.Service1Exchanges,
		large.Service2Exchanges, large.Service3Exchanges, methods.MethodsExchanges, nested.NestedExchanges,
		nopackage.GoldenNoPackageExchanges, onlyhandle.WorkerExchanges, onlyhandle.HeartbeatExchange, onlysend.WorkerExchanges,
		onlysend.HeartbeatExchange, opaque.OpaqueExchanges, proto2.OldExchanges, settings.EverythingExchanges,
		shapes.ReviewerExchanges, shapes.IdleExchanges, skip.MixedExchanges, twofiles.AExchanges, twofiles.ReviewExchanges,
		twofiles.ABExchanges, twofiles.ReviewReplyExchanges, suffix.WorkerExchanges, suffix.HeartbeatExchange,
	}
}

// described is what every generated exchange has.
type described interface{ Descriptor() *exchange.Descriptor }

func descriptors(t *testing.T) []*exchange.Descriptor {
	t.Helper()
	var found []*exchange.Descriptor
	for _, v := range generated() {
		if d, ok := v.(described); ok {
			found = append(found, d.Descriptor())
			continue
		}
		service := reflect.ValueOf(v)
		for i := range service.NumField() {
			d, ok := service.Field(i).Interface().(described)
			require.True(t, ok, service.Type().Field(i).Name)
			found = append(found, d.Descriptor())
		}
	}
	return found
}

// TestEveryExchange sends a message of every generated exchange through the router, and gets what the exchange returns.
func TestEveryExchange(t *testing.T) {
	t.Parallel()
	all := descriptors(t)
	require.Greater(t, len(all), 150)
	synctest.Test(t, func(t *testing.T) {
		net := agenttest.New(t)
		handler, client := net.Agent("handler"), net.Agent("client")
		for _, d := range all {
			handler.Handle(d, func(_ context.Context, m proto.Message) (proto.Message, error) {
				if got := string(proto.MessageName(m)); got != d.RequestName() {
					return nil, fmt.Errorf("%s got a %s", d.Name(), got)
				}
				if d.Kind() != exchange.KindCall {
					return nil, nil
				}
				return filled(d.NewReply()), nil
			})
		}
		require.NoError(t, handler.Start(t.Context()))
		require.NoError(t, client.Start(t.Context()))
		for _, d := range all {
			require.NoError(t, d.Validate())
			op, err := client.Send(t.Context(), &exchange.Outgoing{
				Exchange: d, To: address.Agent("handler"), Message: filled(d.NewRequest()), Policy: d.Policy(),
			})
			require.NoError(t, err, d.Name())
			reply, err := op.Result(t.Context())
			require.NoError(t, err, d.Name())
			if d.Kind() == exchange.KindCall {
				require.True(t, proto.Equal(filled(d.NewReply()), reply), d.Name())
			}
		}
	})
}

// filled gives m the fields that it must have.
func filled(m proto.Message) proto.Message {
	fields := m.ProtoReflect().Descriptor().Fields()
	for i := range fields.Len() {
		if f := fields.Get(i); f.Cardinality() == protoreflect.Required {
			m.ProtoReflect().Set(f, f.Default())
		}
	}
	return m
}
