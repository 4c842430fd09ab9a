package badinput

import (
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// least is how many rows there are at least.
const least = 300

// table runs rows and counts them.
type table struct {
	*testing.T
	rows *int
}

// row runs one row.
func (tb table) row(name string, check func(t *testing.T)) {
	*tb.rows++
	tb.Run(name, check)
}

// TestBadInput runs all tables.
func TestBadInput(t *testing.T) {
	rows := 0
	for _, part := range []struct {
		name string
		run  func(table)
	}{
		{"Envelopes", envelopes},
		{"Acknowledgements", acknowledgements},
		{"Streams", streams},
		{"CanonicalStreams", canonicalStreams},
		{"Registry", registryCalls},
		{"Config", config},
		{"Environment", environment},
		{"CommandLine", commandLine},
		{"ImportFiles", importFiles},
		{"Addresses", addresses},
		{"Registration", registration},
		{"Sends", sends},
	} {
		before := rows
		t.Run(part.name, func(t *testing.T) { part.run(table{t, &rows}) })
		t.Logf("%s: %d rows", part.name, rows-before)
	}
	t.Logf("%d rows of bad input", rows)
	require.GreaterOrEqual(t, rows, least)
}
