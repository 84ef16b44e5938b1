// Package cli is the command line of Understudy: one file per noun. Commands on a vault folder work by themselves; the
// others are clients of a controller (`understudy serve`).
package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"understudy/internal/cli/out"
	"understudy/internal/dr"
	"understudy/internal/keyring"
)

// App is one invocation of the program: what all its commands share.
type App struct {
	*out.Printer
	Version string
	In      *os.File
	Now     func() time.Time

	data      string // controller's folder
	apiURL    string
	tokenFile string
	caFile    string
	verbose   bool
	noInput   bool

	interrupt atomic.Pointer[string] // what to say at the first Ctrl-C
}

// Command makes a command of the program.
type Command func(*App) *cobra.Command

// Main runs the program with the process's arguments and returns its exit code. More commands may be added to those
// of this package.
func Main(version string, more ...Command) int {
	app := &App{Printer: out.NewPrinter(), Version: version, In: os.Stdin, Now: time.Now}
	ctx, stop := app.signals()
	defer stop()
	root := app.root(more)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return out.ExitOK
	}
	if ctx.Err() != nil && !errors.Is(err, context.Canceled) && out.ExitCode(err) == out.ExitError {
		err = fmt.Errorf("%w: %w", context.Canceled, err)
	}
	return app.Fail(err)
}

// signals ends the context at the first interrupt, saying what goes on, and the process at the second.
func (a *App) signals() (context.Context, func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ch := make(chan os.Signal, 2)
	signal.Notify(ch, os.Interrupt, syscall.SIGTERM)
	done := make(chan struct{})
	go func() {
		select {
		case <-ch:
		case <-done:
			return
		}
		if say := a.interrupt.Load(); say != nil {
			fmt.Fprintf(a.Err, "\n%s\n", *say)
		} else {
			fmt.Fprintf(a.Err, "\nstopping; press Ctrl-C again to stop at once\n")
		}
		cancel()
		select {
		case <-ch:
			os.Exit(out.ExitInterrupted)
		case <-done:
		}
	}()
	return ctx, func() { signal.Stop(ch); close(done); cancel() }
}

// OnInterrupt sets what the first Ctrl-C says from now on: what goes on and how to come back to it.
func (a *App) OnInterrupt(format string, args ...any) {
	s := fmt.Sprintf(format, args...)
	a.interrupt.Store(&s)
}

// Logger writes warnings, or everything with --verbose, to standard error.
func (a *App) Logger() *slog.Logger {
	level := slog.LevelWarn
	if a.verbose {
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(a.Err, &slog.HandlerOptions{Level: level}))
}

// Groups of commands in the help.
const (
	groupFiles   = "files"
	groupProtect = "protect"
	groupRecover = "recover"
	groupManage  = "manage"
)

func (a *App) root(more []Command) *cobra.Command {
	root := &cobra.Command{
		Use:   "understudy",
		Short: "Disaster recovery for virtual machines",
		Long: `Understudy keeps a second copy of virtual machines ready to go on.

Try it on a disk image, without any set-up:
  understudy protect ./disk.qcow2 --vault ./v
  understudy points list --vault ./v
  understudy restore --vault ./v --point latest --format vhd out.vhd

Or run a controller that replicates running machines: understudy serve
See it all happen on this machine: understudy demo`,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetOut(a.Out)
	root.SetErr(a.Err)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return usage(cmd, err) })
	flags := root.PersistentFlags()
	a.Format = out.Table
	flags.VarP(&a.Format, "output", "o", "how to write results: table, json, yaml or name")
	flags.BoolVarP(&a.Quiet, "quiet", "q", false, "no progress and no notes")
	flags.BoolVar(&a.verbose, "verbose", false, "log what happens to standard error")
	flags.BoolVar(&a.noInput, "no-input", false, "never ask; refuse what needs an answer")
	flags.StringVar(&a.data, "data", os.Getenv("UNDERSTUDY_DATA"), "the controller's folder (default: the user's state folder)")
	flags.StringVar(&a.apiURL, "api", os.Getenv("UNDERSTUDY_API"), "the controller's URL (default: as written in its folder)")
	flags.StringVar(&a.tokenFile, "token-file", os.Getenv("UNDERSTUDY_TOKEN_FILE"), "file with the API token (default: in the controller's folder)")
	flags.StringVar(&a.caFile, "ca-file", os.Getenv("UNDERSTUDY_CA_FILE"), "file with the certificate of the controller at --api, or of what signed it (default: the system's)")
	root.AddGroup(
		&cobra.Group{ID: groupFiles, Title: "Recovery points, with or without a controller:"},
		&cobra.Group{ID: groupProtect, Title: "Protection:"},
		&cobra.Group{ID: groupRecover, Title: "Recovery:"},
		&cobra.Group{ID: groupManage, Title: "Management:"},
	)
	add := func(group string, commands ...*cobra.Command) {
		for _, c := range commands {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	add(groupFiles, a.protectCommand(), a.pointsCommand(), a.restoreCommand(), a.mountCommand(), a.vaultCommand())
	add(groupProtect, a.statusCommand(), a.syncCommand(), a.pauseCommand(), a.resumeCommand(), a.unprotectCommand())
	add(groupRecover, a.planCommand(), a.preflightCommand(), a.failoverCommand(), a.commitCommand(), a.reprotectCommand(), a.failbackCommand(), a.cleanupCommand(), a.runCommand(), a.drillCommand(), a.cloneCommand(), a.moveCommand(), a.splitBrainCommand())
	add(groupManage, a.serveCommand(), a.siteCommand(), a.machineCommand(), a.extensionCommand(), a.collectorCommand(), a.grantCommand(), a.policyCommand(), a.userCommand(), a.tokenCommand(), a.approvalCommand(), a.auditCommand(), a.monitorCommand(), a.notifyCommand(), a.doctorCommand(), a.demoCommand(), a.versionCommand())
	root.AddCommand(a.internalCommand(), exitCodesTopic())
	for _, c := range more {
		root.AddCommand(c(a))
	}
	root.SetHelpCommandGroupID(groupManage)
	root.SetCompletionCommandGroupID(groupManage)
	sayUsage(root)
	return root
}

// sayUsage makes wrong arguments of every command a usage error with the command's own line of usage, and a noun
// without a verb, or with one that does not exist, a usage error too.
func sayUsage(cmd *cobra.Command) {
	cmd.DisableFlagsInUseLine = strings.Contains(cmd.Use, " ")
	if args := cmd.Args; args != nil {
		cmd.Args = func(c *cobra.Command, given []string) error { return usage(c, args(c, given)) }
	}
	if cmd.HasSubCommands() && cmd.RunE == nil && cmd.Run == nil && cmd.Name() != "help" {
		cmd.Args = cobra.ArbitraryArgs
		cmd.SuggestionsMinimumDistance = 2
		cmd.RunE = func(c *cobra.Command, given []string) error {
			if len(given) == 0 {
				return c.Help()
			}
			err := fmt.Errorf("unknown command %q for %q", given[0], c.CommandPath())
			if near := c.SuggestionsFor(given[0]); len(near) > 0 {
				return dr.WithHint(err, dr.KindInvalid, "did you mean `"+c.CommandPath()+" "+near[0]+"`?")
			}
			return dr.WithHint(err, dr.KindInvalid, "see `"+c.CommandPath()+" --help`")
		}
	}
	for _, c := range cmd.Commands() {
		sayUsage(c)
	}
}

func usage(cmd *cobra.Command, err error) error {
	if err == nil || dr.Hint(err) != "" {
		return err
	}
	// Cobra puts suggestions on lines of their own.
	text, rest, _ := strings.Cut(err.Error(), "\n")
	hint := "usage: " + cmd.UseLine()
	if _, near, ok := strings.Cut(rest, "Did you mean this?\n"); ok {
		near, _, _ = strings.Cut(strings.TrimSpace(near), "\n")
		hint = "did you mean `" + cmd.CommandPath() + " " + near + "`?"
	}
	return dr.WithHint(errors.New(text), dr.KindInvalid, hint)
}

// oneOf checks that at most one of some flags is given, and one at least where that is required. Cobra's own checks give
// errors that cannot be told from others.
func oneOf(cmd *cobra.Command, required bool, names ...string) error {
	given := 0
	for _, name := range names {
		if cmd.Flags().Changed(name) {
			given++
		}
	}
	list := "--" + strings.Join(names, ", --")
	switch {
	case given > 1:
		return usage(cmd, fmt.Errorf("only one of %s can be given", list))
	case given == 0 && required && len(names) == 1:
		return usage(cmd, fmt.Errorf("%s is needed", list))
	case given == 0 && required:
		return usage(cmd, fmt.Errorf("one of %s is needed", list))
	}
	return nil
}

func invalid(hint, format string, args ...any) error {
	return dr.WithHint(fmt.Errorf(format, args...), dr.KindInvalid, hint)
}

func (a *App) opener() (keyring.Opener, error) {
	homes, err := keyring.FindHomes()
	if err != nil {
		return keyring.Opener{}, err
	}
	return keyring.Opener{Homes: homes, Now: a.Now, Logger: a.Logger()}, nil
}

// BuildVersion is the version that the Go toolchain recorded, or the given one where that is set.
func BuildVersion(set string) string {
	if set != "" {
		return set
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	version := info.Main.Version
	if version == "" || version == "(devel)" {
		version = "devel"
	}
	return version
}
