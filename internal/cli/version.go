package cli

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// release is set by the linker in a release: -X github.com/gatherq/gatherq/internal/cli.release=v1.2.3.
var release string

// Version returns the version of the running program, for people: the release or the module's version, the commit where the
// build recorded one, and Go's version.
func Version() string {
	version, commit := release, ""
	if info, ok := debug.ReadBuildInfo(); ok {
		if version == "" {
			version = info.Main.Version
		}
		commit = revision(info.Settings)
	}
	if version == "" {
		version = "(devel)"
	}
	if commit != "" {
		version += " " + commit
	}
	return fmt.Sprintf("%s %s %s/%s", version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

// Commit returns the commit that the running program was built from, with "+dirty" behind it where files had been changed, or "" where
// the build did not record it.
func Commit() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	return revision(info.Settings)
}

func revision(settings []debug.BuildSetting) string {
	var commit, dirty string
	for _, s := range settings {
		switch s.Key {
		case "vcs.revision":
			commit = s.Value[:min(len(s.Value), 12)]
		case "vcs.modified":
			if s.Value == "true" {
				dirty = "+dirty"
			}
		}
	}
	if commit == "" {
		return ""
	}
	return commit + dirty
}
