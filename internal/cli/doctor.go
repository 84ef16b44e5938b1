package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"understudy/internal/cli/out"
	"understudy/internal/dr"
	"understudy/internal/keyring"
)

// finding is one examination of the doctor.
type finding struct {
	Check   string `json:"check"`
	Status  string `json:"status"` // ok, warn, fail, skip
	Message string `json:"message"`
	Remedy  string `json:"remedy,omitempty"`
}

func ok(format string, args ...any) finding {
	return finding{Status: "ok", Message: fmt.Sprintf(format, args...)}
}

func warn(remedy, format string, args ...any) finding {
	return finding{Status: "warn", Message: fmt.Sprintf(format, args...), Remedy: remedy}
}

func failing(remedy, format string, args ...any) finding {
	return finding{Status: "fail", Message: fmt.Sprintf(format, args...), Remedy: remedy}
}

func (a *App) doctorCommand() *cobra.Command {
	var f vaultFlags
	cmd := &cobra.Command{
		Use: "doctor [--vault DIR]", Short: "Examine this machine, the controller and a vault, and say what to do",
		Long: "Examine this machine, the controller and, with --vault, a vault. Exits with 8 when something fails; warnings do not count.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.printFindings("doctor", a.examine(cmd.Context(), f))
		},
	}
	f.add(cmd, false)
	return cmd
}

// printFindings prints what was found and what to do, and fails when a check did.
func (a *App) printFindings(of string, list []finding) error {
	style := func(f finding) out.StyleName {
		return map[string]out.StyleName{"ok": out.Good, "warn": out.Warn, "fail": out.Bad, "skip": out.Dim}[f.Status]
	}
	err := out.List(a.Printer, list, func(f finding) string { return f.Check }, "",
		out.Col("CHECK", func(f finding) string { return f.Check }),
		out.Column[finding]{Title: "STATUS", Text: func(f finding) string { return f.Status }, Style: style},
		out.Col("FOUND", func(f finding) string { return f.Message }))
	failed := 0
	for _, f := range list {
		if f.Remedy != "" {
			a.Line("%s: %s", f.Check, f.Remedy)
		}
		if f.Status == "fail" {
			failed++
		}
	}
	if err == nil && failed > 0 {
		err = fmt.Errorf("%s: %s %w", of, out.Plural(failed, "check"), out.ErrChecks)
	}
	return err
}

func (a *App) examine(ctx context.Context, f vaultFlags) []finding {
	var list []finding
	add := func(check string, f finding) {
		f.Check = check
		list = append(list, f)
	}
	add("qemu-img", tool(ctx, "qemu-img", "apt-get install qemu-utils", "--version"))
	add("qemu", tool(ctx, "qemu-system-x86_64", "to run machines here: apt-get install qemu-system-x86", "--version"))
	add("kvm", checkKVM())
	add("kernel", checkKernel())
	add("clock", checkClock())
	dir, err := a.dataDir()
	if err != nil {
		add("space", failing("set --data", "%v", err))
	} else {
		add("space", checkSpace(dir))
	}
	add("controller", a.checkController(ctx))
	add("keys", checkKeys())
	if f.vault != "" {
		add("vault", a.checkVault(ctx, f))
	}
	return list
}

// toolTimeout bounds how long a tool may take to say its version.
const toolTimeout = 10 * time.Second

func tool(ctx context.Context, name, remedy string, args ...string) finding {
	path, err := exec.LookPath(name)
	if err != nil {
		return warn(remedy, "%s is not installed", name)
	}
	ctx, stop := context.WithTimeout(ctx, toolTimeout)
	defer stop()
	text, err := exec.CommandContext(ctx, path, args...).Output()
	if err != nil {
		return failing("run it by hand: "+path+" "+strings.Join(args, " "), "%s does not run: %v", path, err)
	}
	line, _, _ := strings.Cut(string(text), "\n")
	return ok("%s", line)
}

func checkKVM() finding {
	if runtime.GOOS != "linux" {
		return finding{Status: "skip", Message: "only on Linux"}
	}
	f, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	switch {
	case err == nil:
		_ = f.Close() // nothing was written
		return ok("/dev/kvm can be opened")
	case errors.Is(err, os.ErrNotExist):
		return warn("turn on virtualisation in the firmware, or nested virtualisation in the hypervisor", "no /dev/kvm: machines run about 10 times slower (tcg)")
	}
	return warn("add this user to the group kvm", "%v: machines run about 10 times slower (tcg)", err)
}

func (a *App) checkController(ctx context.Context) finding {
	api, err := a.client()
	if err != nil {
		return warn(dr.Hint(err), "%v", err)
	}
	ctx, stop := context.WithTimeout(ctx, toolTimeout)
	defer stop()
	v, err := api.Version(ctx)
	switch {
	case err != nil:
		return failing(dr.Hint(err), "%v", err)
	case v.Version != a.Version:
		return warn("restart the controller with this version", "it is version %s, this program is %s", v.Version, a.Version)
	}
	return ok("answers at %s", api.URL())
}

func checkKeys() finding {
	homes, err := keyring.FindHomes()
	if err != nil {
		return warn("set HOME", "%v", err)
	}
	files, err := filepath.Glob(filepath.Join(homes.Config, "keys", "*.key"))
	if err != nil || len(files) == 0 {
		return ok("no vault keys are kept here yet")
	}
	for _, file := range files {
		if _, err := keyring.ReadKey(file); err != nil {
			return failing(dr.Hint(err), "%v", err)
		}
	}
	return ok("%s in %s; is there a copy elsewhere?", out.Plural(len(files), "key"), filepath.Dir(files[0]))
}

func (a *App) checkVault(ctx context.Context, f vaultFlags) finding {
	opener, err := a.opener()
	if err != nil {
		return failing(dr.Hint(err), "%v", err)
	}
	place, err := a.place(ctx, f)
	if err != nil {
		return failing(dr.Hint(err), "%v", err)
	}
	v, err := opener.Open(ctx, place)
	if err != nil {
		return failing(dr.Hint(err), "%v", err)
	}
	groups, err := v.Groups(ctx)
	if err != nil {
		return failing("is the vault's disk mounted?", "%v", err)
	}
	if !v.CanRead() {
		return warn("put the key back as "+opener.Homes.KeyFile(v.ID())+", or give it with --key", "%s, but the key is not here: nothing can be restored", out.Plural(len(groups), "group"))
	}
	return ok("%s; its key is %s", out.Plural(len(groups), "group"), v.KeyFile)
}
