package mediatype_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sw4rm/sw4rm-go/runtime/internal/mediatype"
)

// TestParse reads parameters in their order. What cannot be read is in the tests of package envelope.
func TestParse(t *testing.T) {
	t.Parallel()
	var got []string
	media, problem := mediatype.Parse(` Application/JSON; B="x; y"; a=1 ;`, func(name, value string) { got = append(got, name+"="+value) })
	require.Empty(t, problem)
	assert.Equal(t, "application/json", media)
	assert.Equal(t, []string{"b=x; y", "a=1"}, got)
}

// TestParseAllocatesLittle: each message that comes has a content type.
func TestParseAllocatesLittle(t *testing.T) {
	const plain = `application/protobuf; message="a.B"; method="a.S/M"`
	n := 0
	assert.Zero(t, testing.AllocsPerRun(100, func() { mediatype.Parse(plain, func(string, string) { n++ }) }))
	assert.Positive(t, n)
}
