"""The one settings object: typed, checked before anything starts, printed masked. Nothing else reads settings from
`os.environ`."""

from dispatcher.settings.checked import UNVERIFIED_BROKER as UNVERIFIED_BROKER
from dispatcher.settings.checked import Settings as Settings
from dispatcher.settings.connection_file import CONNECTION_FILE as CONNECTION_FILE
from dispatcher.settings.connection_file import LOCK_FILE as LOCK_FILE
from dispatcher.settings.connection_file import default_data_dir as default_data_dir
from dispatcher.settings.connection_file import is_running as is_running
from dispatcher.settings.names import OWN_NAMES as OWN_NAMES
from dispatcher.settings.names import RENAMED as RENAMED
from dispatcher.settings.names import SECRETS as SECRETS
from dispatcher.settings.names import environment_name as environment_name
from dispatcher.settings.reading import check_environment as check_environment
from dispatcher.settings.reading import read_settings as read_settings
from dispatcher.settings.reading import sources as sources
from dispatcher.settings.secret_files import without_files as without_files
