package agent_test

import (
	"context"
	"fmt"
	"iter"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	commonpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/common"
	routerpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/router"
	toolpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/tool"
	transportpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/transport/v1"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
	"github.com/sw4rm/sw4rm-go/runtime/agent"
	"github.com/sw4rm/sw4rm-go/runtime/agenttest"
	"github.com/sw4rm/sw4rm-go/runtime/envelope"
	"github.com/sw4rm/sw4rm-go/runtime/exchange"
)

var (
	tool      = exchange.NewCall[text, text]("test.v1.Echo/Tool", exchange.ToolCall, exchange.MaxAttempts(1))
	tools     = exchange.NewStream[text, text]("test.v1.Echo/Tools", exchange.ToolCall, exchange.MaxAttempts(1))
	bareTool  = exchange.NewCall[text, text]("test.v1.Echo/BareTool", exchange.ToolCall, exchange.MaxAttempts(1), exchange.ContentType("application/json"))
	bareTools = exchange.NewStream[text, text]("test.v1.Echo/BareTools", exchange.ToolCall, exchange.MaxAttempts(1), exchange.ContentType("application/json"))
)

// answer sends an envelope that answers req.
func (f *foreigner) answer(req *commonpb.Envelope, typ commonpb.MessageType, contentType, token, payload string) {
	f.t.Helper()
	f.answerAs(envelope.NewID(), req, typ, contentType, token, payload)
}

func (f *foreigner) answerAs(id string, req *commonpb.Envelope, typ commonpb.MessageType, contentType, token, payload string) {
	f.t.Helper()
	ctx := metadata.AppendToOutgoingContext(f.t.Context(), "sw4rm-to", "agent:"+req.GetProducerId())
	res, err := f.client.SendMessage(ctx, &routerpb.SendMessageRequest{Msg: &commonpb.Envelope{
		MessageId: id, ProducerId: f.id, CorrelationId: req.GetCorrelationId(), SequenceNumber: 1, MessageType: typ,
		IdempotencyToken: token, ContentType: contentType, ContentLength: uint64(len(payload)), Payload: []byte(payload),
	}})
	require.NoError(f.t, err)
	require.True(f.t, res.GetAccepted(), res.GetReason())
}

// frame sends a frame of a run as agents of this module do.
func (f *foreigner) frame(req *commonpb.Envelope, run, n uint64) {
	f.t.Helper()
	f.answer(req, commonpb.MessageType_DATA, `application/json; message="google.protobuf.StringValue"; method="test.v1.Echo/Count"; kind="frame"`,
		envelope.FrameToken(req.GetIdempotencyToken(), run, n), fmt.Sprintf("%q", fmt.Sprint(n)))
}

// end sends the end of a run of n frames.
func (f *foreigner) end(req *commonpb.Envelope, run, n uint64, stage ack.Stage, code ack.Code) {
	f.t.Helper()
	payload := ack.Ack{ForMessageID: req.GetMessageId(), Stage: stage, Code: code, Note: "note"}.Marshal()
	f.answer(req, commonpb.MessageType_DATA, fmt.Sprintf(`application/json; message="sw4rm.common.Ack"; kind="frame"; last="%d"`, n),
		envelope.FrameToken(req.GetIdempotencyToken(), run, n+1), string(payload))
}

// ack acknowledges req.
func (f *foreigner) ack(req *commonpb.Envelope, stage ack.Stage, code ack.Code) {
	f.t.Helper()
	payload := ack.Ack{ForMessageID: req.GetMessageId(), Stage: stage, Code: code}.Marshal()
	f.answer(req, commonpb.MessageType_ACKNOWLEDGEMENT, ack.ContentType, "", string(payload))
}

// window returns what the next window says.
func (f *foreigner) window() *transportpb.StreamWindow {
	f.t.Helper()
	env := <-f.got
	assert.Equal(f.t, `application/protobuf; message="sw4rm.transport.v1.StreamWindow"; kind="window"`, env.GetContentType())
	assert.Equal(f.t, commonpb.MessageType_CONTROL, env.GetMessageType())
	w := new(transportpb.StreamWindow)
	require.NoError(f.t, proto.Unmarshal(env.GetPayload(), w))
	return w
}

// asked starts a stream to a peer that is written by hand, and returns the request and what comes of the stream.
func asked(t *testing.T, client *agent.Agent, f *foreigner, x *exchange.Stream[*text, *text]) (*commonpb.Envelope, <-chan string, *exchange.PendingStream[*text]) {
	t.Helper()
	p, err := x.Send(t.Context(), to(client, f.id), str("x"))
	require.NoError(t, err)
	out := make(chan string, 1000)
	go func() {
		defer close(out)
		for m, err := range p.Frames(t.Context()) {
			if err != nil {
				out <- "! " + err.Error()
				continue
			}
			out <- m.GetValue()
		}
	}()
	return <-f.got, out, p
}

// now returns what has come so far.
func now(out <-chan string) (got []string) {
	synctest.Wait()
	for {
		select {
		case v, ok := <-out:
			if !ok {
				return append(got, "end")
			}
			got = append(got, v)
		default:
			return got
		}
	}
}

// onWire runs a test with an agent and a peer that is written by hand.
func onWire(t *testing.T, test func(t *testing.T, client *agent.Agent, peer *foreigner)) {
	t.Helper()
	inBubble(t, func(t *testing.T, net *agenttest.Net) {
		client, peer := net.Agent("client"), newForeigner(t, net, "peer")
		start(t, client)
		test(t, client, peer)
	})
}

func TestFramesComeInOrderWhateverHappensToThem(t *testing.T) {
	onWire(t, func(t *testing.T, client *agent.Agent, peer *foreigner) {
		req, out, p := asked(t, client, peer, count)
		assert.Equal(t, `application/protobuf; message="google.protobuf.StringValue"; method="test.v1.Echo/Count"; window="64"`, req.GetContentType())
		peer.frame(req, 1, 2)
		peer.frame(req, 1, 3)
		assert.Empty(t, now(out), "the first is missing")
		peer.frame(req, 1, 1)
		assert.Equal(t, []string{"1", "2", "3"}, now(out))
		peer.frame(req, 1, 2)
		w := peer.window()
		assert.Equal(t, [...]uint64{1, 3, 3}, [...]uint64{w.GetRun(), w.GetStored(), w.GetRead()}, "a repetition asks how far the reader is")
		assert.False(t, w.GetMissing())
		assert.Equal(t, req.GetIdempotencyToken(), w.GetToken())
		assert.Equal(t, "agent:peer", w.GetTo())
		peer.frame(req, 1, 5)
		peer.frame(req, 1, 5)
		assert.True(t, peer.window().GetMissing())
		peer.frame(req, 1, 4)
		assert.Equal(t, []string{"4", "5"}, now(out))

		peer.frame(req, 2, 1)
		peer.frame(req, 1, 6)
		peer.frame(req, 1, 7)
		assert.Equal(t, []string{"! " + exchange.ErrRestarted.Error(), "1"}, now(out), "frames of the run before are void")
		peer.end(req, 1, 7, ack.Fulfilled, ack.NoCode)
		assert.Empty(t, now(out))
		peer.end(req, 2, 3, ack.Fulfilled, ack.NoCode)
		assert.Empty(t, now(out), "two are missing")
		peer.ack(req, ack.Fulfilled, ack.NoCode)
		time.Sleep(remindsFirst)
		w = peer.window()
		assert.True(t, w.GetMissing(), "the reader asks by itself")
		assert.EqualValues(t, 1, w.GetStored())
		assert.False(t, p.Status().Done)
		peer.frame(req, 2, 3)
		assert.Empty(t, now(out))
		peer.frame(req, 2, 2)
		assert.Equal(t, []string{"2", "3", "end"}, now(out))
		assert.True(t, p.Status().Done)
		peer.frame(req, 2, 4)
		assert.True(t, peer.window().GetClosed(), "frames after the end are of no use")
		got, err := collect(p.Frames(t.Context()))
		require.NoError(t, err)
		assert.Equal(t, upTo(3), got)
	})
}

const remindsFirst = 6 * time.Second

func TestAMissingFrameIsNotTheEnd(t *testing.T) {
	onWire(t, func(t *testing.T, client *agent.Agent, peer *foreigner) {
		req, out, p := asked(t, client, peer, count)
		peer.ack(req, ack.Received, ack.NoCode)
		peer.frame(req, 1, 1)
		peer.end(req, 1, 2, ack.Fulfilled, ack.NoCode)
		assert.Equal(t, []string{"1"}, now(out))
		peer.ack(req, ack.Fulfilled, ack.NoCode)
		go func() {
			for range peer.got { // it asks, again and again
			}
		}()
		time.Sleep(23 * time.Hour)
		assert.Empty(t, now(out))
		time.Sleep(2 * time.Hour)
		assert.Equal(t, []string{"! TIMED_OUT ACK_TIMEOUT by peer: note; reply_missing", "end"}, now(out))
		assert.Equal(t, ack.Fulfilled, p.Status().Stage)
		close(peer.got)
	})
}

func TestAFailureWaitsForFramesThatAreUnderWay(t *testing.T) {
	onWire(t, func(t *testing.T, client *agent.Agent, peer *foreigner) {
		for _, told := range []bool{true, false} {
			req, out, p := asked(t, client, peer, count)
			peer.ack(req, ack.Received, ack.NoCode)
			peer.frame(req, 1, 1)
			peer.ack(req, ack.Failed, ack.ToolTimeout)
			assert.Equal(t, []string{"1"}, now(out))
			assert.Equal(t, ack.Failed, p.Status().Stage)
			peer.frame(req, 1, 2)
			assert.Equal(t, []string{"2"}, now(out))
			if told {
				peer.end(req, 1, 2, ack.Failed, ack.ToolTimeout)
			} else {
				time.Sleep(exchange.DefaultAckTimeout)
			}
			got := now(out)
			require.Len(t, got, 2)
			assert.Contains(t, got[0], "FAILED TOOL_TIMEOUT")
		}
		req, out, _ := asked(t, client, peer, count)
		peer.ack(req, ack.Rejected, ack.PermissionDenied)
		assert.Len(t, now(out), 2, "it never began")
	})
}

func TestReadersBoundWhatTheyStore(t *testing.T) {
	onWire(t, func(t *testing.T, client *agent.Agent, peer *foreigner) {
		p, err := count.Send(t.Context(), to(client, "peer"), str("x"))
		require.NoError(t, err)
		req := <-peer.got
		for n := range uint64(200) {
			peer.frame(req, 1, n+1)
		}
		synctest.Wait()
		next, stop := iter.Pull2(p.Frames(t.Context()))
		defer stop()
		for n := range exchange.FrameWindow {
			m, err, _ := next()
			require.NoError(t, err)
			assert.Equal(t, fmt.Sprint(n+1), m.GetValue())
		}
		go func() { _, _, _ = next() }()
		synctest.Wait()
		assert.GreaterOrEqual(t, peer.window().GetRead(), uint64(exchange.FrameWindow/2))
		s, err := client.Buffer().OutStream(1)
		require.NoError(t, err)
		assert.EqualValues(t, exchange.FrameWindow, s.GetStored(), "what is sent beyond the window is not kept")
		peer.end(req, 1, 64, ack.Fulfilled, ack.NoCode)
		synctest.Wait()
	})
}

func TestFramesOfStrangersAreIgnored(t *testing.T) {
	inBubble(t, func(t *testing.T, net *agenttest.Net) {
		client, peer, stranger := net.Agent("client"), newForeigner(t, net, "peer"), newForeigner(t, net, "stranger")
		start(t, client)
		req, out, _ := asked(t, client, peer, count)
		stranger.frame(req, 9, 1)
		stranger.end(req, 9, 1, ack.Fulfilled, ack.NoCode)
		assert.Empty(t, now(out))
		peer.answer(req, commonpb.MessageType_DATA, `application/json; kind="frame"; last="7"`, envelope.FrameToken(req.GetIdempotencyToken(), 1, 2), "{}")
		peer.answer(req, commonpb.MessageType_DATA, `application/json; kind="window"`, "", "{}")
		assert.Empty(t, now(out))
		peer.frame(req, 1, 1)
		peer.end(req, 1, 1, ack.Fulfilled, ack.NoCode)
		assert.Equal(t, []string{"1", "end"}, now(out))
		req2, out2, _ := asked(t, client, peer, bareTools)
		stranger.answer(req2, commonpb.MessageType_TOOL_RESULT, "application/json", "", `"9"`)
		stranger.answer(req2, commonpb.MessageType_TOOL_ERROR, "application/json", "", `{}`)
		assert.Empty(t, now(out2))
		peer.answer(req2, commonpb.MessageType_TOOL_ERROR, "application/json", "", `{}`)
		assert.Len(t, now(out2), 2)

		unknown := proto.CloneOf(req)
		unknown.IdempotencyToken, unknown.CorrelationId = "client:x:0", "other"
		peer.frame(unknown, 1, 1)
		assert.True(t, peer.window().GetClosed())
	})
}

// toolsOf answers tool calls: with frames and an end that the request asks for.
func toolsOf(server *agent.Agent, x *exchange.Call[*text, *text], s *exchange.Stream[*text, *text]) {
	failure := func(m *text) error {
		switch m.GetValue() {
		case "fail":
			return ack.Failf(ack.ToolTimeout, "too slow")
		case "reject":
			return ack.Rejectf(ack.PermissionDenied, "not you")
		}
		return nil
	}
	x.Handle(server, func(_ context.Context, m *text) (*text, error) {
		if err := failure(m); err != nil {
			return nil, err
		}
		return str("done"), nil
	})
	s.Handle(server, func(_ context.Context, m *text, out *exchange.Frames[*text]) error {
		if err := numbers(out, 3); err != nil {
			return err
		}
		return failure(m)
	})
}

func TestToolCalls(t *testing.T) {
	inBubble(t, func(t *testing.T, net *agenttest.Net) {
		server, client := net.Agent("server"), net.Agent("client")
		toolsOf(server, tool, tools)
		bare := net.Agent("bare")
		toolsOf(bare, bareTool, bareTools)
		start(t, server, bare, client)
		for word, outcome := range map[string]error{
			"good": nil, "fail": &ack.Error{Stage: ack.Failed, Code: ack.ToolTimeout}, "reject": &ack.Error{Stage: ack.Rejected, Code: ack.PermissionDenied},
		} {
			for _, format := range []exchange.Format{exchange.Protobuf, exchange.JSON} {
				res, err := tool.Call(t.Context(), to(client, "server"), str(word), format)
				require.ErrorIs(t, err, outcome)
				if outcome == nil {
					assert.Equal(t, "done", res.GetValue())
				}
				began := time.Now()
				got, err := collect(tools.Call(t.Context(), to(client, "server"), str(word), format))
				require.ErrorIs(t, err, outcome)
				assert.Equal(t, upTo(3), got)
				assert.Less(t, time.Since(began), time.Second)
			}
		}
		for range 10 {
			time.Sleep(time.Minute)
		}
		for rec := range client.Buffer().Stats().OutFinished {
			out, err := client.Buffer().Out(uint64(rec + 1))
			require.NoError(t, err)
			assert.Empty(t, out.GetLate(), "error and acknowledgement say the same")
		}
	})
}

func TestToolCallsOfPeers(t *testing.T) {
	inBubble(t, func(t *testing.T, net *agenttest.Net) {
		server, peer := net.Agent("server"), newForeigner(t, net, "peer")
		toolsOf(server, bareTool, tools)
		start(t, server)
		call := func(contentType, word string) (*commonpb.Envelope, []*commonpb.Envelope, ack.Ack) {
			req := peer.send("agent:server", commonpb.MessageType_TOOL_CALL, contentType, fmt.Sprintf("%q", word))
			sig := peer.outcome(req)
			synctest.Wait()
			var got []*commonpb.Envelope
			for len(peer.got) > 0 {
				got = append(got, <-peer.got)
			}
			return req, got, sig
		}
		streamed := `application/json; method="test.v1.Echo/Tools"`
		_, got, sig := call("application/json", "good")
		assert.Equal(t, ack.Fulfilled, sig.Stage)
		require.Len(t, got, 1)
		assert.Equal(t, commonpb.MessageType_TOOL_RESULT, got[0].GetMessageType())
		assert.Equal(t, "application/json", got[0].GetContentType())
		assert.Equal(t, `"done"`, string(got[0].GetPayload()))

		req, got, sig := call("application/json", "fail")
		assert.Equal(t, ack.Failed, sig.Stage)
		require.Len(t, got, 1)
		assert.Equal(t, commonpb.MessageType_TOOL_ERROR, got[0].GetMessageType())
		assert.Equal(t, "application/json", got[0].GetContentType())
		assert.JSONEq(t, `{"call_id":"`+req.GetMessageId()+`","error_code":"TOOL_TIMEOUT","message":"too slow"}`, string(got[0].GetPayload()))

		req, got, sig = call(streamed, "good")
		assert.Equal(t, ack.Fulfilled, sig.Stage)
		require.Len(t, got, 3)
		for i, env := range got {
			assert.Equal(t, commonpb.MessageType_TOOL_RESULT, env.GetMessageType())
			assert.Equal(t, `application/json; message="google.protobuf.StringValue"; method="test.v1.Echo/Tools"; kind="frame"`, env.GetContentType())
			assert.Equal(t, fmt.Sprintf(`"%d"`, i+1), string(env.GetPayload()))
			assert.Equal(t, req.GetCorrelationId(), env.GetCorrelationId())
		}
		_, got, sig = call(streamed, "reject")
		assert.Equal(t, ack.Rejected, sig.Stage)
		require.Len(t, got, 4)
		assert.Equal(t, commonpb.MessageType_TOOL_ERROR, got[3].GetMessageType())
	})
}

// TestAPeersReaderDoesNotHoldUpItsHandler has a reader that does not say how far it is.
func TestAPeersReaderDoesNotHoldUpItsHandler(t *testing.T) {
	inBubble(t, func(t *testing.T, net *agenttest.Net) {
		server, peer := net.Agent("server"), newForeigner(t, net, "peer")
		peer.got = make(chan *commonpb.Envelope, 1000)
		count.Handle(server, counting(500))
		start(t, server)
		req := peer.send("agent:server", commonpb.MessageType_DATA, "application/json", `"x"`)
		assert.Equal(t, ack.Fulfilled, peer.outcome(req).Stage)
		for n := range 500 {
			assert.Equal(t, fmt.Sprintf(`"%d"`, n+1), string((<-peer.got).GetPayload()))
		}
	})
}

func TestToolResultsOfPeers(t *testing.T) {
	onWire(t, func(t *testing.T, client *agent.Agent, peer *foreigner) {
		result, failure := commonpb.MessageType_TOOL_RESULT, commonpb.MessageType_TOOL_ERROR
		wrap := func(n uint64, final bool, data string) string {
			b, err := proto.Marshal(&toolpb.ToolFrame{CallId: "c", FrameNo: n, Final: final, ContentType: "application/json", Data: []byte(data)})
			require.NoError(t, err)
			return string(b)
		}
		const toolFrame = `application/protobuf; message="sw4rm.tool.ToolFrame"`

		// One result of a call, as it is and in a ToolFrame.
		for _, answer := range [][2]string{
			{"application/json", `"r"`}, {toolFrame, wrap(0, true, `"r"`)}, {"application/json", `{"call_id":"c","frame_no":0,"final":true,"content_type":"application/json","data":"InIi"}`},
			{"application/vnd.sw4rm.tool.result+json", `"r"`},
		} {
			p, err := bareTool.Send(t.Context(), to(client, "peer"), str("x"))
			require.NoError(t, err)
			req := <-peer.got
			assert.Equal(t, commonpb.MessageType_TOOL_CALL, req.GetMessageType())
			peer.answer(req, result, answer[0], "", answer[1])
			res, err := p.Response(t.Context())
			require.NoError(t, err, answer[0])
			assert.Equal(t, "r", res.GetValue())
		}
		// Errors of a call, alone and beside the acknowledgement.
		for payload, want := range map[string]*ack.Error{
			`{"call_id":"c","error_code":"TOOL_TIMEOUT","message":"m"}`: {Stage: ack.Failed, Code: ack.ToolTimeout, Note: "m"},
			`{"error_code":"CANCELLED","message":"m"}`:                  {Stage: ack.Failed, Code: ack.InternalError, Note: "CANCELLED: m"},
			`{"error_code":"NOT_FOUND"}`:                                {Stage: ack.Failed, Code: ack.InternalError, Note: "NOT_FOUND"},
		} {
			p, err := bareTool.Send(t.Context(), to(client, "peer"), str("x"))
			require.NoError(t, err)
			peer.answer(<-peer.got, failure, "application/json", "", payload)
			_, err = p.Response(t.Context())
			require.ErrorIs(t, err, want)
			assert.ErrorContains(t, err, want.Note)
		}

		// Results without numbers, in their order, the end by ToolFrame.
		req, out, _ := asked(t, client, peer, bareTools)
		for n := range uint64(3) {
			peer.answer(req, result, toolFrame, "", wrap(n, n == 2, fmt.Sprintf(`"%d"`, n+1)))
		}
		assert.Equal(t, append(upTo(3), "end"), now(out))

		// The end by an error.
		req, out, _ = asked(t, client, peer, bareTools)
		peer.answer(req, result, "application/json", "", `"1"`)
		peer.answer(req, failure, "application/json", "", `{"error_code":"TOOL_TIMEOUT"}`)
		got := now(out)
		require.Len(t, got, 3)
		assert.Contains(t, got[1], "FAILED TOOL_TIMEOUT")

		// The end by an acknowledgement alone, which does not say how many there are: later ones are waited for.
		req, out, _ = asked(t, client, peer, bareTools)
		id := envelope.NewID()
		peer.answerAs(id, req, result, "application/json", "", `"1"`)
		peer.ack(req, ack.Fulfilled, ack.NoCode)
		assert.Equal(t, []string{"1"}, now(out))
		time.Sleep(exchange.DefaultAckTimeout - time.Second)
		peer.answer(req, result, "application/json", "", `"2"`)
		time.Sleep(exchange.DefaultAckTimeout - time.Second)
		assert.Equal(t, []string{"2"}, now(out))
		time.Sleep(time.Second)
		assert.Equal(t, []string{"end"}, now(out))
	})
}
