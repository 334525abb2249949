// Package integration proves from outside what gatherq promises: its tests build the programs, start them as processes beside
// real and embedded Redis servers, and look at what comes out and at what is left in Redis.
//
// Tests that need several connections, processes or clocks stand here; what one package does stands with the package.
package integration
