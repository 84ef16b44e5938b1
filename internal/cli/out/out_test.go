package out

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"understudy/internal/dr"
)

func TestHuman(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1536: "1.5 KiB", 1 << 20: "1.0 MiB", 1<<20 - 1: "1.0 MiB", 150 << 30: "150 GiB", -2048: "-2.0 KiB",
	} {
		if got := Bytes(n); got != want {
			t.Errorf("Bytes(%d) = %q, want %q", n, got, want)
		}
	}
	for d, want := range map[time.Duration]string{
		0: "0 s", time.Microsecond: "<1 ms", 85 * time.Millisecond: "85 ms", 4 * time.Second: "4 s", 4200 * time.Millisecond: "4.2 s",
		59600 * time.Millisecond: "1 min", 125 * time.Second: "2 min 5 s", 15 * time.Minute: "15 min", 192 * time.Minute: "3 h 12 min",
		120 * time.Hour: "5 d", 25 * time.Hour: "1 d 1 h",
	} {
		if got := Duration(d); got != want {
			t.Errorf("Duration(%v) = %q, want %q", d, got, want)
		}
	}
}

type thing struct {
	Name string `json:"name"`
	Size int64  `json:"size"`
}

func printer(f Format) (*Printer, *bytes.Buffer, *bytes.Buffer) {
	var stdout, stderr bytes.Buffer
	return &Printer{Out: &stdout, Err: &stderr, Format: f}, &stdout, &stderr
}

func TestList(t *testing.T) {
	things := []thing{{"a", 4096}, {"long\nname", 5}}
	for f, want := range map[Format]string{
		Table: "NAME          SIZE\na          4.0 KiB\nlong name      5 B\n",
		JSON:  "[\n  {\n    \"name\": \"a\",\n    \"size\": 4096\n  },\n  {\n    \"name\": \"long\\nname\",\n    \"size\": 5\n  }\n]\n",
		Name:  "a\nlong\nname\n",
	} {
		p, stdout, _ := printer(f)
		err := List(p, things, func(v thing) string { return v.Name }, "none",
			Col("NAME", func(v thing) string { return v.Name }), Num("SIZE", func(v thing) string { return Bytes(v.Size) }))
		if err != nil || stdout.String() != want {
			t.Errorf("%s: %q, %v; want %q", f, stdout, err, want)
		}
	}
	p, stdout, stderr := printer(JSON)
	if err := List(p, []thing(nil), nil, "none"); err != nil || stdout.String() != "[]\n" {
		t.Errorf("an empty list is %q, %v", stdout, err)
	}
	p.Format = Table
	stdout.Reset()
	if err := List(p, []thing(nil), nil, "none"); err != nil || stdout.Len() != 0 || stderr.String() != "none\n" {
		t.Errorf("an empty table is %q and %q, %v", stdout, stderr, err)
	}
}

func TestFail(t *testing.T) {
	base := errors.New("no space left on device")
	for kind, code := range map[dr.Kind]int{
		dr.KindInvalid: 2, dr.KindNotFound: 3, dr.KindConflict: 4, dr.KindFenced: 5, dr.KindCorrupt: 6, dr.KindUnavailable: 7, dr.KindInternal: 1,
	} {
		p, _, stderr := printer(Table)
		got := p.Fail(fmt.Errorf("write out.raw: %w", dr.WithHint(base, kind, "free some space")))
		if got != code || stderr.String() != "understudy: write out.raw: no space left on device\nhint: free some space\n" {
			t.Errorf("%s: %d, %q", kind, got, stderr)
		}
	}
	for want, err := range map[int]error{0: nil, 1: base, 8: fmt.Errorf("run: %w", ErrChecks), 130: fmt.Errorf("restore: %w", context.Canceled)} {
		if got := ExitCode(err); got != want {
			t.Errorf("%v: %d, want %d", err, got, want)
		}
	}
}

// The page of the documentation has every exit code.
func TestDocumentedCodes(t *testing.T) {
	doc, err := os.ReadFile("../../../docs/cli.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, code := range []int{ExitOK, ExitError, ExitUsage, ExitNotFound, ExitConflict, ExitFenced, ExitCorrupt, ExitUnavailable, ExitChecks, ExitInterrupted} {
		if !strings.Contains(string(doc), fmt.Sprintf("\n| %d | ", code)) {
			t.Errorf("docs/cli.md lacks exit code %d", code)
		}
	}
}
