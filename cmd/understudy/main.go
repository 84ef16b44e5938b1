// Command understudy is disaster recovery for virtual machines: the controller and its command line.
package main

import (
	"os"

	"understudy/internal/cli"
)

// version is set by the build (-ldflags "-X main.version=...").
var version string

func main() { os.Exit(cli.Main(cli.BuildVersion(version))) }
