// Package serve answers buf on a plugin's standard streams.
package serve

import (
	"bytes"
	"context"
	"fmt"
	"io"

	checkv1 "buf.build/gen/go/bufbuild/bufplugin/protocolbuffers/go/buf/plugin/check/v1"
	pluginrpcv1 "buf.build/gen/go/pluginrpc/pluginrpc/protocolbuffers/go/pluginrpc/v1"
	"buf.build/go/bufplugin/check"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"pluginrpc.com/pluginrpc"

	"github.com/sw4rm/sw4rm-go/buf-plugin-sw4rm/internal/rules"
	"github.com/sw4rm/sw4rm-go/buf-plugin-sw4rm/internal/shelter"
)

// New returns the server of the plugin.
func New() (pluginrpc.Server, error) {
	s, err := check.NewServer(rules.Spec())
	if err != nil {
		return nil, fmt.Errorf("set up the plugin: %w", err)
	}
	return server{s}, nil
}

// server shelters our options in what it passes on.
type server struct{ pluginrpc.Server }

// Serve answers one request.
func (s server) Serve(ctx context.Context, env pluginrpc.Env) error {
	env.Stdin = &sheltered{from: env.Stdin}
	return s.Server.Serve(ctx, env)
}

// sheltered is a request, which is read from its source when it is first asked for.
type sheltered struct{ from, request io.Reader }

func (r *sheltered) Read(p []byte) (int, error) {
	if r.request == nil {
		b, err := io.ReadAll(r.from)
		if err != nil {
			return 0, fmt.Errorf("read the request: %w", err)
		}
		r.request = bytes.NewReader(rewrite(b))
	}
	return r.request.Read(p)
}

// rewrite returns an encoded check request with our options sheltered, and anything else as it is.
func rewrite(b []byte) []byte {
	request, body := new(pluginrpcv1.Request), new(checkv1.CheckRequest)
	if proto.Unmarshal(b, request) != nil || !request.GetValue().MessageIs(body) || shelter.Decode(request.GetValue().GetValue(), body) != nil {
		return b
	}
	value, err := anypb.New(body)
	if err != nil {
		return b
	}
	request.SetValue(value)
	out, err := proto.Marshal(request)
	if err != nil {
		return b
	}
	return out
}
