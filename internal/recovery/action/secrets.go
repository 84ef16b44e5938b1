package action

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"slices"
	"strings"

	"understudy/internal/dr"
)

// maxSecret bounds a secret, in bytes.
const maxSecret = 64 << 10

// ReadSecret finds the value of a secret in an environment variable or a file. Its errors do not hold the value.
func ReadSecret(name, env, file string) (string, error) {
	fail := func(err error) (string, error) {
		return "", dr.WithHint(fmt.Errorf("secret %s: %w", name, err), dr.KindInvalid, "the controller must find it: set it where the controller runs, or mend the reference in the plan")
	}
	if env != "" {
		value, ok := os.LookupEnv(env)
		if !ok || value == "" {
			return fail(fmt.Errorf("the controller has no environment variable %s", env))
		}
		return value, nil
	}
	f, err := os.Open(file)
	if err != nil {
		return fail(err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	switch {
	case err != nil:
		return fail(err)
	case len(data) > maxSecret:
		return fail(fmt.Errorf("%s is longer than %d bytes", file, maxSecret))
	}
	value := strings.TrimRight(string(data), "\r\n")
	if value == "" {
		return fail(fmt.Errorf("%s is empty", file))
	}
	return value, nil
}

// A Scrubber takes secret values out of text.
type Scrubber struct {
	forms   []string
	longest int
}

// Hide makes the scrubber know a value, as it is and as it is commonly written.
func (s *Scrubber) Hide(value string) {
	if value == "" {
		return
	}
	forms := []string{value, url.QueryEscape(value), url.PathEscape(value), base64.StdEncoding.EncodeToString([]byte(value)), base64.URLEncoding.EncodeToString([]byte(value))}
	if data, err := json.Marshal(value); err == nil {
		forms = append(forms, strings.Trim(string(data), `"`))
	}
	// A program may write a value of lines line by line.
	for line := range strings.Lines(value) {
		if line = strings.TrimSpace(line); len(line) >= 8 {
			forms = append(forms, line)
		}
	}
	for _, f := range forms {
		if !slices.Contains(s.forms, f) {
			s.forms = append(s.forms, f)
			s.longest = max(s.longest, len(f))
		}
	}
	slices.SortFunc(s.forms, func(a, b string) int { return len(b) - len(a) })
}

// Clean returns text without the values.
func (s *Scrubber) Clean(text string) string {
	for _, f := range s.forms {
		text = strings.ReplaceAll(text, f, "***")
	}
	return text
}

// Error returns an error without the values, of the same kind and hint.
func (s *Scrubber) Error(err error) error {
	if err == nil || s.Clean(err.Error()) == err.Error() && s.Clean(dr.Hint(err)) == dr.Hint(err) {
		return err
	}
	return dr.WithHint(errors.New(s.Clean(err.Error())), dr.KindOf(err), s.Clean(dr.Hint(err)))
}

// Tail is the last of what a program wrote, clean, valid text and at most limit bytes.
func (s *Scrubber) Tail(b *Buffer, limit int) string {
	data, cut := b.kept()
	if cut && s.longest > 0 {
		// It may begin inside of a value.
		data = data[min(len(data), s.longest-1):]
	}
	text := s.Clean(strings.ToValidUTF8(string(data), "\uFFFD"))
	if len(text) > limit {
		text, cut = strings.ToValidUTF8(text[len(text)-limit:], ""), true
	}
	text = strings.TrimSpace(text)
	if cut && text != "" {
		text = "... " + text
	}
	return text
}
