package cli

import (
	"context"
	"errors"
	"slices"
	"testing"

	"understudy/internal/api/client"
)

// A try to go on that fails does not make the next one go on with whatever file it is then.
func TestSameFile(t *testing.T) {
	var tags []string
	open := sameFile(func(_ context.Context, _ int64, tag string) (client.Download, error) {
		tags = append(tags, tag)
		if len(tags) == 2 {
			return client.Download{}, errors.New("no route")
		}
		return client.Download{Tag: `"a"`}, nil
	})
	for _, from := range []int64{0, 10, 10, 20} {
		if _, err := open(t.Context(), from); (err != nil) != (len(tags) == 2) {
			t.Fatal(err)
		}
	}
	if want := []string{"", `"a"`, `"a"`, `"a"`}; !slices.Equal(tags, want) {
		t.Errorf("%q, want %q", tags, want)
	}
}
