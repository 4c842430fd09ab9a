package ack_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	commonpb "github.com/sw4rm/sw4rm-go/proto/sw4rm/common"
	"github.com/sw4rm/sw4rm-go/runtime/ack"
)

func TestStagesOnlyMoveForward(t *testing.T) {
	t.Parallel()
	stages := []ack.Stage{ack.None, ack.Received, ack.Read, ack.Fulfilled, ack.Rejected, ack.Failed, ack.TimedOut}
	for _, from := range stages {
		for _, to := range append(stages, -1, 7, 10) {
			got, moved := ack.Advance(from, to)
			want := !from.Terminal() && to > from && to <= ack.TimedOut
			require.Equal(t, want, moved, "%v to %v", from, to)
			if want {
				require.Equal(t, to, got)
			} else {
				require.Equal(t, from, got, "%v to %v", from, to)
			}
		}
		require.Equal(t, from >= ack.Fulfilled, from.Terminal(), from)
	}
	require.False(t, ack.Stage(10).Terminal())
}

func TestNamesAndNumbersAreTheProtocols(t *testing.T) {
	t.Parallel()
	for number, name := range commonpb.AckStage_name {
		if number != 0 {
			require.Equal(t, name, ack.Stage(number).String())
		}
	}
	for number, name := range commonpb.ErrorCode_name {
		if number == 0 {
			continue
		}
		require.Equal(t, name, ack.Code(number).String())
		code, ok := ack.CodeByName(name)
		require.True(t, ok, name)
		require.Equal(t, ack.Code(number), code)
	}
	require.Equal(t, "NONE", ack.None.String())
	require.Equal(t, "STAGE_77", ack.Stage(77).String())
	require.Equal(t, "NO_ERROR", ack.NoCode.String())
	require.Equal(t, "CODE_77", ack.Code(77).String())
	code, ok := ack.CodeByName("buffer_full")
	require.True(t, ok)
	require.Equal(t, ack.BufferFull, code)
	for _, name := range []string{"", "TEAPOT", "ERROR_CODE_UNSPECIFIED"} {
		_, ok = ack.CodeByName(name)
		require.False(t, ok, name)
	}
}

func TestRetryableByDefault(t *testing.T) {
	t.Parallel()
	retryable := map[ack.Code]bool{
		ack.BufferFull: true, ack.AgentUnavailable: true, ack.AgentShutdown: true, ack.Overloaded: true, ack.ForcedPreemption: true,
		ack.InternalError: true,
	}
	for number := range commonpb.ErrorCode_name {
		require.Equal(t, retryable[ack.Code(number)], ack.Code(number).RetryableByDefault(), ack.Code(number))
	}
	require.False(t, ack.Code(77).RetryableByDefault())
}

func TestPayload(t *testing.T) {
	t.Parallel()
	a := ack.Ack{ForMessageID: "m-1", Stage: ack.Rejected, Code: ack.ValidationError, Note: "no \"path\"\n"}
	require.JSONEq(t, `{"ack_for_message_id":"m-1","ack_stage":4,"error_code":6,"note":"no \"path\"\n"}`, string(a.Marshal()))
	got, err := ack.Parse(ack.ContentType, a.Marshal())
	require.NoError(t, err)
	require.Equal(t, a, got)

	b, err := proto.Marshal(&commonpb.Ack{AckForMessageId: "m-1", AckStage: commonpb.AckStage_REJECTED, ErrorCode: commonpb.ErrorCode_VALIDATION_ERROR, Note: a.Note})
	require.NoError(t, err)
	got, err = ack.Parse("Application/Protobuf; charset=x", b)
	require.NoError(t, err)
	require.Equal(t, a, got)
}

func TestPayloadsOfOtherPeers(t *testing.T) {
	t.Parallel()
	for payload, want := range map[string]ack.Ack{
		`{"ack_for_message_id":"m","ack_stage":1}`:                                                       {ForMessageID: "m", Stage: ack.Received},
		`{"ack_for_message_id":"m","ack_stage":"fulfilled","error_code":0,"more":[]}`:                    {ForMessageID: "m", Stage: ack.Fulfilled},
		`{"ack_for_message_id":"m","ack_stage":"TIMED_OUT","error_code":"ack_timeout"}`:                  {ForMessageID: "m", Stage: ack.TimedOut, Code: ack.AckTimeout},
		`{"ack_for_message_id":"m","ack_stage":10,"error_code":99}`:                                      {ForMessageID: "m", Stage: ack.Failed, Code: ack.InternalError},
		`{"ack_for_message_id":"m","ack_stage":5,"error_code":4711,"note":"x"}`:                          {ForMessageID: "m", Stage: ack.Failed, Code: 4711, Note: "x"},
		`{"ack_for_message_id":"m","ack_stage":5,"error_code":"HITL_UNAVAILABLE","note":"nobody there"}`: {ForMessageID: "m", Stage: ack.Failed, Code: ack.InternalError, Note: "hitl_unavailable nobody there"},
	} {
		for _, contentType := range []string{"application/json", "", "text/plain; oops"} {
			got, err := ack.Parse(contentType, []byte(payload))
			require.NoError(t, err, payload)
			require.Equal(t, want, got, payload)
		}
	}
}

func TestPayloadsThatAreNone(t *testing.T) {
	t.Parallel()
	for payload, says := range map[string]string{
		``:                           "decode JSON",
		`{`:                          "decode JSON",
		`[]`:                         "decode JSON",
		`null`:                       "ack_for_message_id is empty",
		`{"ack_stage":3}`:            "ack_for_message_id is empty",
		`{"ack_for_message_id":"m"}`: "ack_stage 0",
		`{"ack_for_message_id":"m","ack_stage":""}`:                         "ack_stage 0",
		`{"ack_for_message_id":"m","ack_stage":"ACK_STAGE_UNSPECIFIED"}`:    "ack_stage 0",
		`{"ack_for_message_id":"m","ack_stage":7}`:                          "ack_stage 7",
		`{"ack_for_message_id":"m","ack_stage":-1}`:                         "ack_stage -1",
		`{"ack_for_message_id":"m","ack_stage":99999999999}`:                "decode JSON",
		`{"ack_for_message_id":"m","ack_stage":"DONE"}`:                     `"DONE" is not a name`,
		`{"ack_for_message_id":"m","ack_stage":true}`:                       "decode JSON",
		`{"ack_for_message_id":7,"ack_stage":3}`:                            "decode JSON",
		`{"ack_for_message_id":"m","ack_stage":3,"error_code":{"code":99}}`: "decode JSON",
	} {
		_, err := ack.Parse("application/json", []byte(payload))
		require.ErrorContains(t, err, says, payload)
	}
	_, err := ack.Parse("application/protobuf", []byte("\xff\xff"))
	require.ErrorContains(t, err, "decode sw4rm.common.Ack")
	_, err = ack.Parse("application/protobuf", nil)
	require.ErrorContains(t, err, "ack_for_message_id is empty")
}

func TestErrors(t *testing.T) {
	t.Parallel()
	err := fmt.Errorf("call: %w", ack.Rejectf(ack.ValidationError, "field %q is empty", "path"))
	require.EqualError(t, err, `call: REJECTED VALIDATION_ERROR: field "path" is empty`)
	require.ErrorIs(t, err, &ack.Error{Stage: ack.Rejected})
	require.ErrorIs(t, err, &ack.Error{Code: ack.ValidationError})
	require.NotErrorIs(t, err, &ack.Error{Stage: ack.Failed})
	require.NotErrorIs(t, err, &ack.Error{Code: ack.NoRoute})
	require.NotErrorIs(t, err, &ack.Error{Note: "other"})
	require.NotErrorIs(t, err, &ack.Error{From: "a"})
	require.NotErrorIs(t, err, errors.New("other"))
	require.Equal(t, ack.ValidationError, ack.CodeOf(err))
	require.Equal(t, ack.Overloaded, ack.CodeOf(ack.Failf(ack.Overloaded, "")))
	require.Equal(t, ack.InternalError, ack.CodeOf(errors.New("other")))
	require.Equal(t, ack.NoCode, ack.CodeOf(nil))
	require.EqualError(t, &ack.Error{Stage: ack.TimedOut, From: "a"}, "TIMED_OUT by a")
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	cause := errors.New("busy")
	err := ack.RetryAfter(cause, -time.Second)
	require.ErrorIs(t, err, cause)
	require.EqualError(t, err, "run again after 0s: busy")
	var retry *ack.RetryError
	require.ErrorAs(t, ack.RetryAfter(nil, time.Minute), &retry)
	require.Equal(t, time.Minute, retry.After)
	require.EqualError(t, retry, "run again after 1m0s")
}

// FuzzParse: whatever comes is an error or an acknowledgement that can be sent on.
func FuzzParse(f *testing.F) {
	f.Add("application/json", []byte(`{"ack_for_message_id":"m","ack_stage":"READ","error_code":"x","note":""}`))
	f.Add("application/protobuf", []byte("\n\x01m\x10\x03"))
	f.Fuzz(func(t *testing.T, contentType string, payload []byte) {
		a, err := ack.Parse(contentType, payload)
		if err != nil {
			return
		}
		require.NotEmpty(t, a.ForMessageID)
		require.True(t, a.Stage >= ack.Received && a.Stage <= ack.TimedOut)
		again, err := ack.Parse(ack.ContentType, a.Marshal())
		require.NoError(t, err)
		require.Equal(t, a, again)
	})
}
