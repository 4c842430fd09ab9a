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
		"version":  {args: []string{"--version"}, in: terminal, out: "protoc-gen-sw4rm-docs "},
		"help":     {args: []string{"--help"}, in: terminal, out: "formats=markdown"},
		"unknown":  {args: []string{"--verbose"}, in: terminal, status: 2, log: `unknown arguments ["--verbose"]. Fix: see protoc-gen-sw4rm-docs --help`},
		"terminal": {in: terminal, status: 2, log: "there is no request on standard input"},
		"garbage":  {in: file, status: 1, log: "decode CodeGeneratorRequest"},
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
