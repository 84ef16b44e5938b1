package azure

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"understudy/internal/dr"
	"understudy/internal/site"
)

// maxRun is how much of a program's output Run Command returns, in bytes.
const maxRun = 4 << 10

// exitMark is what the script writes after the program ended.
const exitMark = "understudy-exit:"

// Command implements site.Commander by Run Command, which takes some seconds and runs one program at a time.
func (s *Site) Command(ctx context.Context, name string, c site.Command) (res site.CommandResult, err error) {
	fail := func(err error) (site.CommandResult, error) {
		return res, fmt.Errorf("run %s in %s: %w", strings.Join(c.Argv, " "), name, explain(err))
	}
	v, _, err := s.find(ctx, name)
	switch {
	case err != nil:
		return fail(err)
	case len(c.Argv) == 0:
		return fail(dr.WithHint(errors.New("no program was named"), dr.KindInvalid, "give a program and its arguments"))
	case v == nil || powers[v.Properties.InstanceView.power()] != dr.PowerOn:
		return fail(dr.WithHint(errors.New("the machine does not run"), dr.KindUnavailable, "start it"))
	case strings.EqualFold(v.Properties.StorageProfile.OSDisk.OSType, "windows"):
		return fail(dr.WithHint(errors.New("programs are run in Linux machines only"), dr.KindInvalid, "use an extension"))
	}
	defer s.alone(name + "/run")()
	var answer struct {
		Value []status `json:"value"`
	}
	body := map[string]any{"commandId": "RunShellScript", "script": script(c)}
	if err := s.rest.run(ctx, call{http.MethodPost, v.ID + "/runCommand", nil, body}, &answer); err != nil {
		return fail(err)
	}
	text := ""
	for _, one := range answer.Value {
		text += one.Message
	}
	if res, err = parseRun(text); err != nil {
		return fail(err)
	}
	if res.ExitCode == 126 || res.ExitCode == 127 {
		return fail(dr.WithHint(fmt.Errorf("there is no program %s", c.Argv[0]), dr.KindInvalid, "give the path of a program in the machine"))
	}
	return res, nil
}

func quote(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }

// script is a program as lines of a shell. Its output is coded, so that what Azure adds is told from it.
func script(c site.Command) []string {
	var words []string
	for _, e := range c.Env {
		words = append(words, quote(e))
	}
	if len(words) > 0 {
		words = append([]string{"env"}, words...)
	}
	for _, a := range c.Argv {
		words = append(words, quote(a))
	}
	return []string{
		"d=$(mktemp -d) || exit 1",
		"echo " + base64.StdEncoding.EncodeToString(c.Stdin) + " | base64 -d > $d/in",
		"( " + strings.Join(words, " ") + " ) < $d/in > $d/out 2> $d/err",
		"echo " + exitMark + "$?",
		fmt.Sprintf("head -c %d $d/out | base64 -w0; echo; wc -c < $d/out; head -c %d $d/err | base64 -w0; echo; wc -c < $d/err", maxRun/4, maxRun/4),
		"rm -rf $d",
	}
}

// parseRun reads what the script wrote.
func parseRun(text string) (res site.CommandResult, err error) {
	_, rest, ok := strings.Cut(text, exitMark)
	lines := strings.Split(rest, "\n")
	if !ok || len(lines) < 5 {
		return res, dr.WithHint(fmt.Errorf("the answer of Run Command is not that of the script: %.200q", text), dr.KindUnavailable, "see that the machine has a shell and base64")
	}
	if res.ExitCode, err = strconv.Atoi(strings.TrimSpace(lines[0])); err != nil {
		return res, err
	}
	for i, into := range []*[]byte{&res.Stdout, &res.Stderr} {
		data, err := base64.StdEncoding.DecodeString(strings.TrimSpace(lines[1+2*i]))
		if err != nil {
			return res, err
		}
		if len(data) > 0 {
			*into = data
		}
		res.Truncated = res.Truncated || parseInt(strings.TrimSpace(lines[2+2*i])) > int64(len(data))
	}
	return res, nil
}
