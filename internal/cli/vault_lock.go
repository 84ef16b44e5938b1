package cli

import (
	"time"

	"github.com/spf13/cobra"

	"understudy/internal/api/wire"
	"understudy/internal/cli/out"
	"understudy/internal/dr"
	"understudy/internal/vault"
)

// lockFlags say how a vault that is made locks its objects.
type lockFlags struct {
	mode string
	most string
}

func (f *lockFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.mode, "lock", "", "lock objects for as long as retention keeps them for sure: governance (whom the service permits may take a lock off) or compliance (nobody may)")
	cmd.Flags().StringVar(&f.most, "lock-at-most", "", "with --lock: how far ahead anything is locked at most (default 30d)")
}

// set adds the flags to what is asked for.
func (f *lockFlags) set(v *wire.Vault) error {
	v.Lock = f.mode
	if f.most == "" {
		return v.LockRule().Validate()
	}
	if f.mode == "" {
		return invalid("add --lock governance or --lock compliance", "--lock-at-most is for vaults that lock")
	}
	most, err := dr.ParseDuration(f.most)
	if err != nil {
		return err
	}
	v.LockSeconds = int64(most / time.Second)
	return v.LockRule().Validate()
}

// lockedText says how much is locked, and until when.
func lockedText(s vault.Stats) string {
	if s.Locked == 0 {
		return ""
	}
	return out.Bytes(s.LockedBytes) + " until " + out.Time(s.LockedUntil)
}
