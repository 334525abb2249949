// Command performance rebuilds the tables of docs/performance.md and the chart docs/performance.svg from the raw samples in
// bench/results. It is run in the root of the module:
//
//	go run ./bench/performance
//
// What stands between the markers of the page is generated, all else is written by hand and left alone.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/gatherq/gatherq/bench/report"
)

// Where everything lies, from the root of the module.
const (
	resultsDir = "bench/results"
	pageFile   = "docs/performance.md"
	chartFile  = "docs/performance.svg"
)

func main() {
	if err := rebuild("."); err != nil {
		fmt.Fprintln(os.Stderr, "performance:", err)
		os.Exit(1)
	}
}

// rebuild writes page and chart anew.
func rebuild(root string) error {
	page, chart, err := render(root)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(root, pageFile), page, 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(root, chartFile), chart, 0o644)
}

// render returns what page and chart should be, without touching them.
func render(root string) (page, chart []byte, err error) {
	files, err := filepath.Glob(filepath.Join(root, resultsDir, "*.json"))
	if err != nil {
		return nil, nil, err
	}
	if len(files) == 0 {
		return nil, nil, fmt.Errorf("no samples in %s", resultsDir)
	}
	var runs []report.Run
	for _, file := range files {
		run, err := report.Read(file)
		if err != nil {
			return nil, nil, err
		}
		runs = append(runs, run)
	}
	report.Sort(runs)
	if page, err = os.ReadFile(filepath.Join(root, pageFile)); err != nil {
		return nil, nil, err
	}
	sections := map[string]string{"environments": report.Environments(runs), "targets": report.Targets(runs)}
	for i, run := range runs {
		sections["measured"] += fmt.Sprintf("### %s\n\n%s", run.Label(), report.Measured(run))
		if i < len(runs)-1 {
			sections["measured"] += "\n"
		}
	}
	for name, text := range sections {
		if page, err = replace(page, name, text); err != nil {
			return nil, nil, fmt.Errorf("%s: %w", pageFile, err)
		}
	}
	chart, err = draw(runs[0])
	return page, chart, err
}
