package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCommandLine(t *testing.T) {
	t.Parallel()
	terminal, err := os.Open(os.DevNull) // a character device, as a terminal is
	require.NoError(t, err)
	t.Cleanup(func() { _ = terminal.Close() })
	garbage := filepath.Join(t.TempDir(), "garbage")
	require.NoError(t, os.WriteFile(garbage, []byte("garbage"), 0o600))
	file, err := os.Open(garbage)
	require.NoError(t, err)
	t.Cleanup(func() { _ = file.Close() })

	for name, c := range map[string]struct {
		args     []string
		in       *os.File
		status   int
		out, log string
	}{
		"version":   {args: []string{"--version"}, in: terminal, out: "protoc-gen-sw4rm "},
		"help":      {args: []string{"--help"}, in: terminal, out: "services=annotated|all (default annotated)"},
		"unknown":   {args: []string{"--verbose"}, in: terminal, status: 2, log: `unknown arguments ["--verbose"]. Fix: see protoc-gen-sw4rm --help`},
		"terminal":  {in: terminal, status: 2, log: "there is no request on standard input"},
		"garbage":   {in: file, status: 1, log: "decode CodeGeneratorRequest"},
		"folder":    {args: []string{"proto", garbage}, in: terminal, status: 1, log: "use a folder that you can write"},
		"no folder": {args: []string{"proto"}, in: terminal, status: 2, log: "proto takes one folder"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out, log bytes.Buffer
			require.Equal(t, c.status, run(c.args, c.in, &out, &log))
			if c.out == "" {
				require.Empty(t, out.String())
			}
			require.Contains(t, out.String(), c.out)
			if c.log == "" {
				require.Empty(t, log.String())
			}
			require.Contains(t, log.String(), c.log)
		})
	}
}

func TestProto(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var out, log bytes.Buffer
	require.Zero(t, run([]string{"proto", dir}, os.Stdin, &out, &log), log.String())
	got, err := os.ReadFile(filepath.Join(dir, "sw4rm", "options", "v1", "options.proto"))
	require.NoError(t, err)
	want, err := os.ReadFile("../proto/sw4rm/options/v1/options.proto")
	require.NoError(t, err)
	require.Equal(t, string(want), string(got))
}
