package catalog

import (
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protojson"
)

func TestSamples(t *testing.T) {
	known, err := Load(t.Context(), Source{Paths: []string{files(t, map[string]string{"acme/v1/greeter.proto": greeter, "acme/v1/name.proto": name})}})
	require.NoError(t, err)
	none, err := ReadSamples("", known)
	require.NoError(t, err)
	require.Empty(t, none)
	samples, err := ReadSamples(files(t, map[string]string{
		"Greet.json": `{"name": {"first": "Ann"}}
{"name": {"first": "Bob"}} {}`,
		"acme.v1.Greeter.Wave.json": `{}`, "Bell.json": `{"times": 3}`, "notes.txt": "no payload",
	}), known)
	require.NoError(t, err)
	require.Len(t, samples, 3)
	require.Len(t, samples["acme.v1.Greeter/Greet"], 3)
	text, err := protojson.Marshal(samples["acme.v1.Bell"][0])
	require.NoError(t, err)
	require.JSONEq(t, `{"times": 3}`, string(text))

	for says, dir := range map[string]string{
		"/nowhere has no payloads":      "/nowhere",
		"METHOD.json for each method":   t.TempDir(),
		`0 exchanges are called "Nope"`: files(t, map[string]string{"Nope.json": "{}"}),
		"object 2: ":                    files(t, map[string]string{"Greet.json": "{} {"}),
		"object 1: ":                    files(t, map[string]string{"Greet.json": `{"nope": 1}`}),
		"it is empty":                   files(t, map[string]string{"Greet.json": " "}),
	} {
		_, err := ReadSamples(dir, known)
		var wrong *Error
		require.ErrorAs(t, err, &wrong, says)
		require.ErrorContains(t, err, says)
	}
	_, err = named("Greet", append(known, known...))
	require.ErrorContains(t, err, "2 exchanges")
}
