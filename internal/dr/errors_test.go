package dr

import (
	"errors"
	"fmt"
	"io"
	"testing"
)

func TestHintAndKind(t *testing.T) {
	inner := WithHint(io.EOF, KindCorrupt, "verify the vault")
	for name, tc := range map[string]struct {
		err  error
		hint string
		kind Kind
	}{
		"none":     {io.EOF, "", KindInternal},
		"wrapped":  {fmt.Errorf("read: %w", inner), "verify the vault", KindCorrupt},
		"joined":   {errors.Join(errors.New("other"), inner), "verify the vault", KindCorrupt},
		"outer":    {WithHint(inner, KindConflict, "wait"), "wait", KindConflict},
		"no words": {WithHint(inner, KindConflict, ""), "verify the vault", KindConflict},
	} {
		if got := Hint(tc.err); got != tc.hint {
			t.Errorf("%s: hint %q, want %q", name, got, tc.hint)
		}
		if got := KindOf(tc.err); got != tc.kind {
			t.Errorf("%s: kind %q, want %q", name, got, tc.kind)
		}
		if !errors.Is(tc.err, io.EOF) {
			t.Errorf("%s: the cause is lost", name)
		}
	}
	if WithHint(nil, KindCorrupt, "x") != nil {
		t.Error("a hint made an error of nil")
	}
}
