"""Elasticsearch: one node out of Maven's jars, without security."""

import shutil

from stack.files import write_whole
from stack.process import Launch
from stack.servers.base import HOST, Server, http_ok
from stack.servers.jvm import command

SETTINGS = """cluster.name: cdc
node.name: stack
discovery.type: single-node
network.host: {host}
http.port: {http}
transport.port: {transport}
cluster.routing.allocation.disk.threshold_enabled: false
action.destructive_requires_name: true
"""
LOGGING = """status = error
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{ISO8601} %-5p %c{1.}: %m%n%throwable
rootLogger.level = info
rootLogger.appenderRef.console.ref = console
"""
MODULES = "jdk.net,jdk.management.agent,jdk.incubator.vector"


class Elasticsearch(Server):
    """The search target."""

    name = "elasticsearch"
    bundles = ("elasticsearch",)
    listeners = {"elasticsearch": 9200, "elasticsearch-transport": 9300}  # noqa: RUF012 - a constant of the class

    def prepare(self) -> None:
        """Lay out the node's home: own configuration and data, the cache's modules."""
        super().prepare()
        (self.folder / "plugins").mkdir(exist_ok=True)
        modules = self.folder / "modules"
        if modules.is_symlink():
            modules.unlink()
        modules.symlink_to(self.bundle("elasticsearch") / "modules")
        settings = SETTINGS.format(
            host=HOST, http=self.port(), transport=self.port("elasticsearch-transport")
        )
        write_whole(self.folder / "config" / "elasticsearch.yml", settings)
        write_whole(self.folder / "config" / "log4j2.properties", LOGGING)
        shutil.rmtree(self.folder / "tmp", ignore_errors=True)

    def launch(self) -> Launch:
        """Run the launcher; the server's jars must be on the module path, its modules are modular plugins."""
        bundle = self.bundle("elasticsearch")
        arguments = [
            "-Xms512m",
            "-XX:+UseG1GC",
            f"-Des.path.home={self.folder}",
            "-Dlog4j2.disable.jmx=true",
            "-Dlog4j.shutdownHookEnabled=false",
            "-Dio.netty.noUnsafe=true",
            "-Dio.netty.noKeySetOptimization=true",
            "-Dio.netty.recycler.maxCapacityPerThread=0",
            "--enable-native-access=org.elasticsearch.nativeaccess,org.apache.lucene.core",
            f"--add-modules={MODULES}",
            "--add-modules=ALL-MODULE-PATH",
            f"--module-path={bundle / 'lib'}",
            *("-cp", str(bundle / "launcher.jar"), "cdc.stack.ElasticsearchNode"),
        ]
        config = self.folder / "config" / "elasticsearch.yml"
        return Launch(command(self.context, self.name, "512m", arguments), configs=[config])

    def answers(self) -> bool:
        """Tell whether every shard that the node holds is started."""
        health = "/_cluster/health?wait_for_status=yellow&timeout=2s"
        return http_ok(f"{self.context.url('elasticsearch')}{health}")
