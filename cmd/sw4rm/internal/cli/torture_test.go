package cli

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sw4rm/sw4rm-go/cmd/sw4rm/internal/torture"
	"github.com/sw4rm/sw4rm-go/cmd/sw4rm/internal/torture/catalog"
)

func TestTortureExitCodes(t *testing.T) {
	for _, test := range []struct {
		err  error
		code int
	}{
		{&torture.UsageError{Problem: "x"}, ExitUsage},
		{fmt.Errorf("wrapped: %w", &catalog.Error{Problem: "x"}), ExitUsage},
		{&torture.AgentError{Problem: "x"}, ExitError},
		{&torture.VacuousError{Problem: "x"}, ExitError},
		{errors.Join(&torture.EffectsError{Problem: "x"}), ExitError},
		{brokenError{7}, ExitBroken},
	} {
		require.Equal(t, test.code, exitCode(test.err), "%v", test.err)
	}
}

func TestQuoted(t *testing.T) {
	for word, want := range map[string]string{
		"": "''", "a-b_c=1.5/x": "a-b_c=1.5/x", "a b": "'a b'", "it's": `'it'\''s'`, "$HOME": "'$HOME'", "--x=;": "'--x=;'", "über": "'über'",
	} {
		require.Equal(t, want, quoted(word))
	}
}
